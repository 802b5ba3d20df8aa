"""Answers to Predict, held against protobuf: read as it reads them, or refused as it does.

The code that is tested lays arrays over the received bytes and leaves to protobuf what is not
written as usual; which of the two it was may make no difference.
"""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given

from serving.client.tests import wire_bytes
from serving.client.tests.wire_bytes import CODES, bounded, field, values, varint
from tfs_client import AnswerError, codec, tensors
from tfs_client.wire import serving_pb2 as pb

SPEC = pb.ModelSpec(name="modèle", version={"value": 3}, signature_name="ß")


def same(one: codec.Answer, other: codec.Answer) -> None:
    """Value by value, with dtypes, in the same order, all of it read-only."""
    assert one[:3] == other[:3]
    assert list(one.outputs) == list(other.outputs)
    for name, array in one.outputs.items():
        np.testing.assert_array_equal(array, other.outputs[name], strict=True)
        assert not array.flags.writeable
        assert array.dtype != bool or set(array.tobytes()) <= {0, 1}


def outcome(read, *args) -> codec.Answer | None:
    """What was read; None if it was refused."""
    try:
        return read(*args)
    except AnswerError as error:
        if not str(error).startswith("Expected "):
            raise
        return None


def check_answer(data: bytes, max_bytes: int = 2**20) -> codec.Answer | None:
    """Read as protobuf reads it, or refused as it is there; also once its layout is known."""
    begin = time.thread_time()
    parsed = outcome(codec._parse, data, max_bytes)
    for _ in range(2):
        found = outcome(codec.decode_answer, data, max_bytes)
        if parsed is None or found is None:
            assert found is parsed
        else:
            same(found, parsed)
    assert time.thread_time() - begin < 1
    return parsed


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("form", wire_bytes.FORMS)
def test_every_form_of_a_tensor_is_read_as_what_was_meant(dtype, form):
    for shape in [(), (1,), (0,), (3,), (2, 3), (2, 0, 3), (1, 2, 3, 2)]:
        array = values(dtype, shape)
        answer = check_answer(wire_bytes.response({"y": wire_bytes.tensor(array, form)}, SPEC))
        assert answer[:3] == ("modèle", 3, "ß")
        if form == "compressed" and array.size:
            array = np.full(shape, array.flat[0], array.dtype)
        np.testing.assert_array_equal(answer.outputs["y"], array, strict=True)


@bounded
@given(wire_bytes.responses())
def test_whatever_protobuf_reads_or_refuses_is_read_or_refused_alike(data):
    check_answer(data)


def test_what_is_generated_is_both_read_and_refused():
    outcomes = set()

    @bounded
    @given(wire_bytes.responses())
    def look(data):
        parsed = check_answer(data)
        outcomes.add("refused" if parsed is None else "empty" if not parsed.outputs else "read")

    look()
    assert outcomes == {"read", "empty", "refused"}


ONE = field(8, b"a")  # string_val
SHAPE_1 = field(2, field(2, varint(1, 1)))
STRING = varint(1, pb.DT_STRING) + SHAPE_1 + ONE
FLOAT = varint(1, pb.DT_FLOAT) + SHAPE_1
ENTRY = field(1, b"x") + field(2, STRING)


@pytest.mark.parametrize(
    "data",
    {
        "nothing": b"",
        "an empty entry": field(1, b""),
        "an entry without a key": field(1, field(2, STRING)),
        "an entry without a value": field(1, field(1, b"x")),
        "the value before the key": field(1, field(2, STRING) + field(1, b"x")),
        "two keys": field(1, field(1, b"y") + ENTRY),
        "two values": field(1, ENTRY + field(2, STRING)),
        "one output twice": field(1, ENTRY) + field(1, field(1, b"x") + field(2, FLOAT)),
        "a lie, then the truth": field(1, field(1, b"x") + field(2, FLOAT + field(4, b"123")))
        + field(1, ENTRY),
        "the truth, then a lie": field(1, ENTRY)
        + field(1, field(1, b"x") + field(2, FLOAT + field(4, b"123"))),
        "a name that is not UTF-8": field(1, field(1, b"\xff") + field(2, STRING)),
        "a model that is not UTF-8": field(2, field(1, b"\xff")),
        "two model_specs": field(2, field(1, b"m")) + field(2, field(2, varint(1, 5))),
        "a version twice": field(2, field(2, varint(1, 5)) + field(2, b"")),
        "a version, then a label": field(2, field(2, varint(1, 5)) + field(4, b"l")),
        "a negative version": field(2, field(2, varint(1, 2**64 - 7))),
        "a version of 63 bits": field(2, field(2, varint(1, 2**63 - 1))),
        "a version of 0": field(2, field(2, varint(1, 0))),
        "a dimension twice": field(
            1, field(1, b"x") + field(2, varint(1, 1) + field(2, field(2, varint(1, 2) * 2)))
        ),
        "a dimension without a size": field(
            1, field(1, b"x") + field(2, varint(1, 1) + field(2, field(2, b"")))
        ),
        "no dtype": field(1, field(1, b"x") + field(2, SHAPE_1 + ONE)),
        "no shape": field(1, field(1, b"x") + field(2, varint(1, pb.DT_STRING) + ONE)),
        "a dtype of many bytes": field(1, field(1, b"x") + field(2, varint(1, 2**40 + 1))),
        "a group": b"\x0b\x0c" + field(1, ENTRY),
        "a tag of many bytes": b"\x8a\x00" + field(1, ENTRY)[1:],
        "a field numbered 0": b"\x02\x00",
        "a tag alone": b"\x0a",
        "100 dimensions": field(
            1, field(1, b"x") + field(2, varint(1, 1) + field(2, field(2, varint(1, 1)) * 100))
        ),
    }.items(),
    ids=lambda case: case[0],
)
def test_what_is_legal_and_unusual_is_protobufs_to_judge(data):
    check_answer(data[1])


@pytest.mark.parametrize("width", range(1, 12))
def test_lengths_written_longer_than_needed_are_protobufs_to_judge(width):
    entry = ENTRY[:3] + wire_bytes.padded(ENTRY[3:4] + STRING, width)
    check_answer(field(1, entry))
    check_answer(wire_bytes.padded(field(1, ENTRY), width))
    check_answer(field(2, field(2, b"\x08" + wire_bytes.number(5, width))))
    dims = field(2, field(2, b"\x08" + wire_bytes.number(1, width)))
    check_answer(field(1, field(1, b"x") + field(2, varint(1, pb.DT_STRING) + dims + ONE)))
    values = wire_bytes.padded(field(5, b"1234"), width)
    check_answer(field(1, field(1, b"x") + field(2, FLOAT + values)))


def test_bytes_turned_cut_and_inserted_have_the_outcome_that_protobuf_gives_them():
    outcomes = [check_answer(data) is None for data in wire_bytes.mutations(3000)]
    assert 300 < sum(outcomes) < 2700


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "bool", "complex64", "int16"])
@pytest.mark.parametrize("form", ["tensor_content", "packed"])
def test_an_array_lies_in_the_bytes_that_were_received(dtype, form):
    if form == "packed" and dtype in ("uint8", "int16"):
        pytest.skip("*_val of narrow integers are varints, which numpy cannot read in place")
    array = values(dtype, (5, 7))
    data = wire_bytes.response({"y": wire_bytes.tensor(array, form)}, SPEC)
    codec.decode_answer(data)  # the layout is learned with the first answer
    read = codec.decode_answer(data).outputs["y"]
    assert np.shares_memory(read, np.frombuffer(data, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        read[0] = 0


@pytest.mark.parametrize(
    "shape", [[2**20], [2**62, 2**62], [2**20, 2**20], [2**31 - 1], [1, 2**40]]
)
@pytest.mark.parametrize("dtype", ["float32", "bool", "float16", "int64", "complex128", "object"])
def test_a_few_bytes_that_claim_much_are_refused_without_the_memory(dtype, shape):
    two = wire_bytes.tensor(values(dtype, (2,)), "packed")
    claimed = field(2, b"".join(field(2, varint(1, size)) for size in shape))
    data = wire_bytes.response({"y": two.replace(field(2, field(2, varint(1, 2))), claimed)}, SPEC)
    tracemalloc.start()
    try:
        for _ in range(2):
            with pytest.raises(AnswerError, match=r"at most 100000 bytes.*output 'y'"):
                codec.decode_answer(data, 100_000)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_limit_holds_for_strings_the_second_time_too():
    array = np.array([b"a"] * 200, object)
    data = wire_bytes.response({"y": tensors.to_proto(array).SerializeToString()}, SPEC)
    assert check_answer(data, 1600) is not None
    assert check_answer(data, 1599) is None


def test_one_value_that_stands_for_many_takes_no_memory():
    proto = pb.TensorProto(dtype=pb.DT_FLOAT, float_val=[7])
    proto.tensor_shape.dim.add(size=2**28)
    tracemalloc.start()
    try:
        answer = codec.decode_answer(wire_bytes.response({"y": proto.SerializeToString()}, SPEC))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert (answer.outputs["y"].shape, answer.outputs["y"][-1]) == ((2**28,), 7)


def test_a_server_that_sends_noise_never_breaks_its_caller(server, client):
    noise = list(wire_bytes.mutations(150))
    left = iter(noise)
    server.answers["Predict"] = lambda request, context: next(left)
    outcomes = set()
    for data in noise:
        expected = outcome(codec._parse, data, 2**28)
        found = outcome(lambda: client.predict({"x": 1}, model="echo"))
        outcomes.add(found is None)
        if expected is None or found is None:
            assert found is expected
        else:
            same(codec.Answer(found.model, found.version, found.signature, found.outputs), expected)
    assert outcomes == {True, False}
