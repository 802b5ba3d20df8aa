"""The two messages of Predict, compared with what protobuf writes and reads."""

from __future__ import annotations

import itertools
import threading
import time
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from tfs_client import AnswerError, InputNameError, ValueRangeError
from tfs_client.wire import decoding, encoding, serving_pb2 as pb, tensors

from .. import wire_bytes
from ..wire_bytes import field, varint

SPEC = pb.ModelSpec(name="modèle", version={"value": 3}, signature_name="été")

CODES = {
    **{"float32": pb.DT_FLOAT, "float64": pb.DT_DOUBLE, "float16": pb.DT_HALF},
    **{"int8": pb.DT_INT8, "int16": pb.DT_INT16, "int32": pb.DT_INT32, "int64": pb.DT_INT64},
    **{"uint8": pb.DT_UINT8, "uint16": pb.DT_UINT16, "uint32": pb.DT_UINT32},
    **{"uint64": pb.DT_UINT64, "bool": pb.DT_BOOL, "complex64": pb.DT_COMPLEX64},
    **{"complex128": pb.DT_COMPLEX128, "bfloat16": pb.DT_BFLOAT16},
}

SHAPES = [(), (0,), (1,), (3,), (2, 3), (2, 0, 3), (2, 1, 3), (1, 2, 3, 2), (2, 1, 2, 1, 3)]

LAYOUTS = {
    "as it is": lambda array: array,
    "column-major": np.asfortranarray,
    "transposed": lambda array: np.ascontiguousarray(array.T).T,
    "strided": lambda array: np.repeat(array, 2, axis=-1)[..., ::2] if array.ndim else array,
    "backwards": lambda array: np.flip(np.ascontiguousarray(np.flip(array))),
    "of another byte order": lambda array: array.astype(array.dtype.newbyteorder("S")),
    "unaligned": lambda array: np.frombuffer(
        b"\0" + array.tobytes(), array.dtype, array.size, 1
    ).reshape(array.shape),
    "of a subclass": lambda array: array.view(type("Array", (np.ndarray,), {})),
    "read-only": lambda array: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape),
}


def values(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Every bit pattern that the dtype has, NaN among them."""
    dtype = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    noise = np.random.default_rng(5).bytes(int(np.prod(shape)) * dtype.itemsize)
    if dtype.kind == "b":
        noise = bytes(byte & 1 for byte in noise)
    return np.frombuffer(noise, dtype).reshape(shape).copy()


def by_protobuf(arrays, outputs=(), spec: pb.ModelSpec = SPEC) -> pb.PredictRequest:
    """The message as protobuf writes it; numeric arrays as tensor_content."""
    request = pb.PredictRequest(model_spec=spec, output_filter=outputs)
    for name, array in arrays.items():
        tensor = request.inputs[name]
        for size in array.shape:
            tensor.tensor_shape.dim.add(size=size)
        tensor.tensor_shape.SetInParent()
        if array.dtype == object:
            tensor.dtype = pb.DT_STRING
            tensor.string_val.extend(
                one.encode() if isinstance(one, str) else one for one in array.ravel().tolist()
            )
        else:
            tensor.dtype = CODES[array.dtype.name]
            native = array.astype(array.dtype.newbyteorder("="))  # little-endian, where this runs
            tensor.tensor_content = native.tobytes()
    return request


def check_requests(arrays, outputs=(), template: encoding.RequestTemplate | None = None) -> None:
    """Compares requests with protobuf's: the first, the second, and one by encode_known.

    encode_known gives None where its layout does not fit.
    """
    template = template or encoding.RequestTemplate(SPEC, outputs)
    expected = by_protobuf(arrays, outputs)
    for request in (template.encode(arrays), template.encode(arrays)):
        assert pb.PredictRequest.FromString(request) == expected
    short = template.encode_known(arrays)
    assert short is None or pb.PredictRequest.FromString(short) == expected


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", CODES)
def test_a_request_says_what_protobuf_would_have_written(dtype, layout):
    for shape in SHAPES:
        # Some of numpy's functions give a tensor of rank 0 a dimension.
        array = LAYOUTS[layout](values(dtype, shape)).reshape(shape)
        check_requests({"x": array})


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)], ids=str)
def test_a_bool_of_any_byte_but_0_is_sent_as_1(shape, layout):
    """numpy and TensorFlow take it for true; a server that reads the byte as it is, for neither."""
    template = encoding.RequestTemplate(SPEC)
    patterns = np.array([255, 0, 2, 128, 1, 0], np.uint8)[: int(np.prod(shape))].reshape(shape)
    array = LAYOUTS[layout](patterns.view(bool)).reshape(shape)
    before = array.tobytes()
    for _ in range(2):
        assert template.encode_known({"x": array}) is None  # it would send the bytes as they lie
        sent = pb.PredictRequest.FromString(template.encode({"x": array})).inputs["x"]
        assert sent.tensor_content == (patterns != 0).tobytes()
    assert tensors.to_proto(array).tensor_content == (patterns != 0).tobytes()
    assert array.tobytes() == before  # the caller's array stays as it is


def test_the_short_way_is_taken_and_only_for_what_was_written_before():
    template = encoding.RequestTemplate(SPEC)
    array = values("float32", (2, 3))
    assert template.encode_known({"x": array}) is None
    template.encode({"x": array})
    changed = array + 1
    short = template.encode_known({"x": changed})
    assert pb.PredictRequest.FromString(short) == by_protobuf({"x": changed})
    for other in (array.T, array.astype(">f4"), array.astype(np.float64), array[:, ::-1], [1.0]):
        assert template.encode_known({"x": other}) is None
    assert template.encode_known({"y": array}) is None
    assert template.encode_known({"x": np.ma.array(array, mask=True)}) is None


def test_more_shapes_than_are_kept_are_written_all_the_same():
    template = encoding.RequestTemplate(SPEC)
    for size in itertools.chain(range(700), range(700)):
        check_requests({"x": np.zeros(size, np.uint8)}, template=template)


def test_one_template_serves_many_threads_with_shapes_of_their_own():
    template = encoding.RequestTemplate(SPEC)
    wrong = []

    def write(seed: int) -> None:
        for size in np.random.default_rng(seed).integers(0, 900, 300):
            arrays = {"x": np.full(size, seed, np.int16), "y": np.full((size, 2), seed, np.uint8)}
            request = template.encode_known(arrays) or template.encode(arrays)
            if pb.PredictRequest.FromString(request) != by_protobuf(arrays):
                wrong.append((seed, size))

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)
numeric = st.sampled_from([name for name in CODES if name != "bfloat16"])
either_order = st.sampled_from("<>").flatmap(
    lambda order: numeric.map(lambda name: np.dtype(name).newbyteorder(order))
)
any_shape = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)
any_array = either_order.flatmap(lambda dtype: hnp.arrays(dtype, any_shape))
texts = st.one_of(st.binary(max_size=300), st.text(st.characters(exclude_categories=["Cs"])))
any_strings = hnp.arrays(object, any_shape, elements=texts)


@given(st.dictionaries(names, st.one_of(any_array, any_strings), max_size=4), st.lists(names))
def test_any_names_shapes_and_dtypes_are_written_as_protobuf_would(arrays, outputs):
    check_requests(arrays, tuple(outputs))


@pytest.mark.parametrize("size", [127, 128, 16383, 16384, 2**21 - 1, 2**21])
def test_lengths_on_both_sides_of_a_varints_steps_are_right(size):
    check_requests({"x" * 127: np.zeros(size, np.uint8), "x" * 128: np.zeros((size, 1), np.uint8)})
    check_requests({"x": np.array([b"y" * size, b""], object)})


def test_text_that_utf8_does_not_have_is_the_callers_mistake():
    template = encoding.RequestTemplate(SPEC)
    with pytest.raises(InputNameError, match=r"Expected .* Received: "):
        template.encode({"\ud800": np.zeros(1)})
    with pytest.raises(ValueRangeError, match=r"Expected .*'x'.* Received: "):
        template.encode({"x": np.array(["\ud800"], object)})


# --- answers --------------------------------------------------------------------------------------


def same(one: decoding.Answer, other: decoding.Answer) -> None:
    """Compares names, their order, dtypes and values; all arrays are read-only."""
    assert one[:3] == other[:3]
    assert list(one.outputs) == list(other.outputs)
    for name, array in one.outputs.items():
        np.testing.assert_array_equal(array, other.outputs[name], strict=True)
        assert not array.flags.writeable
        assert array.dtype != bool or set(array.tobytes()) <= {0, 1}


def check_answer(data: bytes, max_bytes: int = 2**20) -> decoding.Answer | None:
    """Checks that an answer is read as protobuf reads it, or refused where protobuf refuses it.

    Twice: the second time its layout is known.
    """
    answers = []
    begin = time.thread_time()
    for read in (decoding._parse, decoding.decode_answer, decoding.decode_answer):
        try:
            answers.append(read(data, max_bytes))
        except AnswerError as error:  # noqa: PERF203
            assert str(error).startswith("Expected ")  # noqa: PT017  # refusing is right too
            answers.append(None)
    assert time.thread_time() - begin < 1
    parsed, first, second = answers
    if parsed is None:
        assert (first, second) == (None, None)
    else:
        same(first, parsed)
        same(second, parsed)
    return parsed


@pytest.mark.parametrize("dtype", [*CODES, "string"])
@pytest.mark.parametrize("form", wire_bytes.FORMS)
def test_every_form_of_a_tensor_is_read_as_what_was_meant(dtype, form):
    for shape in SHAPES:
        if dtype == "string":
            words = [b"a\0", b"", "ü".encode(), b"x" * 200]
            array = np.empty(int(np.prod(shape)), object)
            array[:] = list(itertools.islice(itertools.cycle(words), array.size))
            array = array.reshape(shape)
        else:
            array = values(dtype, shape)
        if form == "compressed" and not array.size:
            continue
        expected = array
        if form == "compressed":
            expected = array.ravel()[[0] * array.size].reshape(shape)
        data = wire_bytes.response({"score": wire_bytes.tensor(array, form)}, SPEC)
        answer = check_answer(data)
        assert answer[:3] == ("modèle", 3, "été")
        np.testing.assert_array_equal(answer.outputs["score"], expected, strict=True)


def test_whatever_protobuf_reads_or_refuses_is_read_or_refused_alike():
    outcomes = set()

    @given(wire_bytes.responses())
    def look(data):
        parsed = check_answer(data)
        outcomes.add("refused" if parsed is None else "empty" if not parsed.outputs else "read")

    look()  # and each of the three occurs among what is generated
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


@pytest.mark.parametrize(
    ("form", "dtype"),
    [
        *(("tensor_content", dtype) for dtype in CODES if dtype != "bfloat16"),
        # *_val of other dtypes are varints, which numpy cannot read in place.
        *(("packed", dtype) for dtype in ("float32", "float64", "bool", "complex64", "complex128")),
    ],
)
def test_an_array_lies_in_the_bytes_that_were_received(form, dtype):
    array = values(dtype, (5, 7))
    data = wire_bytes.response({"y": wire_bytes.tensor(array, form)}, SPEC)
    decoding.decode_answer(data)  # the layout is learned with the first answer
    read = decoding.decode_answer(data).outputs["y"]
    assert np.shares_memory(read, np.frombuffer(data, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        read[0] = 0


@pytest.mark.parametrize(
    "shape", [[2**20], [2**62, 2**62], [2**20, 2**20], [2**31 - 1], [1, 2**40]]
)
@pytest.mark.parametrize("dtype", ["float32", "bool", "float16", "int64", "complex128", "string"])
def test_a_few_bytes_that_claim_much_are_refused_without_the_memory(dtype, shape):
    code = pb.DT_STRING if dtype == "string" else CODES[dtype]
    kept = (
        pb.TensorProto.FromString(wire_bytes.tensor(np.ones(2, dtype), "packed"))
        if (dtype != "string")
        else pb.TensorProto(string_val=[b"a", b"b"])
    )
    kept.dtype = code
    del kept.tensor_shape.dim[:]
    for size in shape:
        kept.tensor_shape.dim.add(size=size)
    data = wire_bytes.response({"y": kept.SerializeToString()}, SPEC)
    tracemalloc.start()
    try:
        for _ in range(2):
            with pytest.raises(AnswerError, match=r"at most 100000 bytes.*output 'y'"):
                decoding.decode_answer(data, 100_000)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_the_last_string_stands_for_the_rest_with_its_zeros():
    proto = pb.TensorProto(dtype=pb.DT_STRING, string_val=[b"x", b"a\0"])
    proto.tensor_shape.dim.add(size=4)
    answer = check_answer(wire_bytes.response({"y": proto.SerializeToString()}, SPEC))
    assert answer.outputs["y"].tolist() == [b"x", b"a\0", b"a\0", b"a\0"]


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
        answer = decoding.decode_answer(wire_bytes.response({"y": proto.SerializeToString()}, SPEC))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert (answer.outputs["y"].shape, answer.outputs["y"][-1]) == ((2**28,), 7)


def test_a_server_that_sends_noise_never_breaks_its_caller(server, client):
    noise = list(wire_bytes.mutations(150))
    left = iter(noise)
    server.handlers["Predict"] = lambda request, context: next(left)
    outcomes = []
    for data in noise:
        try:
            answer = client.predict({"x": 1}, model="echo")
        except AnswerError as error:  # noqa: PERF203
            read = check_answer(data, 2**28)
            assert read is None or read.model not in ("echo", ""), error  # noqa: PT017
            outcomes.append("refused")
        else:
            same(
                decoding.Answer(*decoding._parse(data, 2**28)[:3], answer.outputs),
                decoding._parse(data, 2**28),
            )
            outcomes.append("read")
    assert {"read", "refused"} == set(outcomes)


def test_many_small_tensors_cannot_claim_more_together_than_one_may():
    response = pb.PredictResponse()
    for name in "abcde":
        tensor = response.outputs[name]
        tensor.dtype = pb.DT_FLOAT
        tensor.tensor_shape.dim.add(size=1000)
        tensor.float_val.extend([1.0, 2.0])  # the second one stands for 999
    data = response.SerializeToString()
    for read in (decoding._parse, decoding.decode_answer, decoding.decode_answer):
        assert len(read(data, 20_000).outputs) == 5
        with pytest.raises(AnswerError, match="bytes"):
            read(data, 19_999)
