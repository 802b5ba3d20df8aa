"""TensorProto ↔ numpy, held against TensorFlow's own C++ (ParseTensor is Tensor::FromProto)."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework import tensor_pb2

from serving.local.apis import tensor_proto
from serving.local.dtypes import DT_BOOL, DT_STRING, DTYPE_NAMES, NUMPY_DTYPES, dtype_of

FLOATS = [0.0, -1.5, 3e-40, np.inf]
VALUES: dict[str, list[Any]] = {
    "string_val": [b"", b"ab", b"c\0", bytes(200)],
    "bool_val": [True, False],
    "uint32_val": [0, 7, 2**32 - 1],
    "uint64_val": [0, 7, 2**64 - 1],
    "int64_val": [0, 7, -(2**63)],
    "int_val": [0, 7, -1, 300, 70_000, -(2**31)],
    "half_val": [0, 7, 15_360, 70_000],
    **{f"{kind}_val": FLOATS for kind in ("float", "double", "scomplex", "dcomplex")},
}
FIELDS = {
    **dict.fromkeys((3, 4, 5, 6, 11, 12, 13, 15, 16, 17, 29, 30), "int_val"),
    **dict.fromkeys((14, 19), "half_val"),
    **dict.fromkeys((24, 25, 26, 27, 28), "float8_val"),
    **{1: "float_val", 2: "double_val", 7: "string_val", 8: "scomplex_val", 9: "int64_val"},
    **{10: "bool_val", 18: "dcomplex_val", 22: "uint32_val", 23: "uint64_val"},
}
ALL = pytest.mark.parametrize("number", NUMPY_DTYPES, ids=DTYPE_NAMES.get)


def parsed(proto: Any) -> NDArray[Any] | None:
    """What TensorFlow makes of it; None where it refuses it."""
    try:
        found = tf.raw_ops.ParseTensor(serialized=proto.SerializeToString(), out_type=proto.dtype)
    except tf.errors.InvalidArgumentError:
        return None
    return np.array(found.numpy(), dtype=object if proto.dtype == DT_STRING else None)


def decoded(proto: Any) -> NDArray[Any] | None:
    try:
        return tensor_proto.decode(proto)
    except tensor_proto.MalformedTensorError:
        return None


def assert_same(found: NDArray[Any] | None, expected: NDArray[Any] | None, proto: Any) -> None:
    if expected is None or found is None:
        assert found is expected, proto
        return
    assert found.shape == expected.shape, proto
    if expected.dtype == object:
        assert found.tolist() == expected.tolist(), proto
    else:
        assert found.tobytes() == expected.tobytes(), proto


def some_tensor(number: int, choice: random.Random) -> Any:
    """Values, content or both, in the right number or not."""
    proto = tensor_pb2.TensorProto(dtype=number)
    proto.tensor_shape.unknown_rank = choice.random() < 0.1
    for _ in range(choice.choice([0, 1, 1, 2, 3])):
        proto.tensor_shape.dim.add(size=choice.choice([0, 1, 1, 2, 2, 3, -1]))
    field = FIELDS[number]
    count = choice.choice([0, 1, 2, 4, 8])
    if field == "float8_val":
        proto.float8_val = choice.randbytes(count)
    else:
        # Four bits hold no more than that; TensorFlow would keep what is above them.
        values = [0, 1, 7] if number in (29, 30) else VALUES[field]
        getattr(proto, field).extend(choice.choices(values, k=count))
    if choice.random() < 0.4:
        proto.tensor_content = some_content(number, choice)
    return proto


def some_content(number: int, choice: random.Random) -> bytes:
    count = choice.choice([1, 2, 4, 5])
    if number == DT_STRING:
        strings = choice.choices(VALUES["string_val"], k=count)
        lengths = [b"\xc8\x01" if len(text) == 200 else bytes([len(text)]) for text in strings]
        return b"".join(lengths + strings)
    small = number in (10, 29, 30)
    size = NUMPY_DTYPES[number].itemsize * count
    return bytes(choice.choices([0, 1], k=size)) if small else choice.randbytes(size)


@ALL
def test_every_tensor_is_read_as_tensorflow_reads_it(number: int) -> None:
    choice = random.Random(number)
    for _ in range(100):
        proto = some_tensor(number, choice)
        assert_same(decoded(proto), parsed(proto), proto)


@ALL
@pytest.mark.parametrize("encode", [tensor_proto.encode, tensor_proto.encode_content])
def test_every_tensor_is_written_so_that_tensorflow_reads_it(number: int, encode: Any) -> None:
    choice = random.Random(number)
    for shape in ((), (0,), (3,), (2, 0, 1), (2, 2)):
        proto = tensor_pb2.TensorProto(dtype=number)
        for size in shape:
            proto.tensor_shape.dim.add(size=size)
        if FIELDS[number] == "float8_val":
            proto.float8_val = choice.randbytes(4)
        else:
            values = [0, 1, 7] if number in (29, 30) else VALUES[FIELDS[number]]
            getattr(proto, FIELDS[number]).extend(choice.choices(values, k=4))
        array = tensor_proto.decode(proto)
        if array.dtype.names:
            array = array.view(array.dtype[0])  # as a session hands quantized values out
        written = tensor_pb2.TensorProto()

        encode(array, number, written)

        assert written.dtype == number
        assert [dim.size for dim in written.tensor_shape.dim] == list(shape)
        assert bool(written.tensor_content) == (
            encode is tensor_proto.encode_content and array.size > 0
        )
        assert_same(parsed(written), array, written)


TRUTHS = bytes([0, 1, 2, 127, 128, 255])
TRUE = [False, True, True, True, True, True]


def test_every_byte_but_zero_is_true_on_the_way_in() -> None:
    proto = tensor_pb2.TensorProto(dtype=DT_BOOL, tensor_content=TRUTHS)
    proto.tensor_shape.dim.add(size=len(TRUTHS))

    found = tensor_proto.decode(proto)

    assert found.tobytes() == bytes(TRUE)
    assert tf.logical_not(found).numpy().tolist() == [not true for true in TRUE]


@pytest.mark.parametrize("encode", [tensor_proto.encode, tensor_proto.encode_content])
@pytest.mark.parametrize("shape", [(6,), (2, 3), (3, 1, 2)])
def test_every_byte_but_zero_is_true_on_the_way_out(encode: Any, shape: tuple[int, ...]) -> None:
    array = np.frombuffer(TRUTHS, np.bool_).reshape(shape)
    written = tensor_pb2.TensorProto()

    encode(array.T, DT_BOOL, written)

    parsed_again = tensor_pb2.TensorProto.FromString(written.SerializeToString())
    flat = np.array(TRUE).reshape(shape).T.ravel().tolist()
    assert list(parsed_again.bool_val or map(bool, parsed_again.tensor_content)) == flat
    assert parsed_again.tensor_content in (b"", bytes(flat))


def test_a_strided_array_is_written_in_its_own_order() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    written = tensor_pb2.TensorProto()

    tensor_proto.encode(array, 1, written)

    assert list(written.float_val) == [0, 3, 1, 4, 2, 5]
    assert [dim.size for dim in written.tensor_shape.dim] == [3, 2]


@pytest.mark.parametrize(
    "text",
    [
        {"dtype": 0},
        {"dtype": 20, "tensor_shape": {"dim": [{"size": 2}]}},
        {"dtype": 20, "tensor_shape": {"dim": [{"size": 0}]}},
        {"dtype": 99},
        {"dtype": 101},
        {"dtype": 1, "tensor_shape": {"dim": [{"size": 2**62}, {"size": 4}]}},
        {"dtype": 1, "tensor_shape": {"dim": [{"size": 2**40}]}},
        {"dtype": 1, "tensor_shape": {"dim": [{"size": 1}] * 255}},
        {"dtype": 7, "tensor_shape": {"dim": [{"size": 1}]}, "tensor_content": b"\xff" * 9},
    ],
)
def test_what_is_no_tensor_is_refused(text: dict[str, Any]) -> None:
    with pytest.raises(tensor_proto.MalformedTensorError):
        tensor_proto.decode(tensor_pb2.TensorProto(**text))


def test_the_array_knows_its_dtype_better_than_the_signature_unless_it_is_quantized() -> None:
    assert dtype_of(np.zeros(1, np.float32), declared=3) == 1
    assert dtype_of(np.zeros(1, np.int8), declared=11) == 11
    assert dtype_of(np.zeros(1, np.int8), declared=6) == 6
    assert dtype_of(np.array([b""], object)) == 7
    assert dtype_of(np.array(["text"])) == 0
