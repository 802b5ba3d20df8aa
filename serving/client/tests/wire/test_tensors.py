"""Arrays to tensors and back, for every dtype."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest

from tfs_client import AnswerError, RequestError
from tfs_client.wire import serving_pb2 as pb, tensors

DTYPES = [
    *("float16", "float32", "float64", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64", "bool", "complex64", "complex128"),
]


def values_of(dtype) -> np.ndarray:
    return np.array([[0, 1, 1], [1, 0, 7]]).astype(dtype)


def shaped(dtype: int, shape: list[int], **fields) -> pb.TensorProto:
    dims = [{"size": size} for size in shape]
    return pb.TensorProto(dtype=dtype, tensor_shape={"dim": dims}, **fields)


@pytest.mark.parametrize("dtype", [*DTYPES, ml_dtypes.bfloat16])
def test_every_dtype_comes_back_as_it_was_sent(dtype):
    sent = values_of(dtype)
    received = tensors.from_proto(tensors.to_proto(sent))
    assert received.dtype == sent.dtype
    np.testing.assert_array_equal(received, sent)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3), (2, 0, 3), (1, 2, 3, 4, 5)])
def test_every_shape_comes_back_as_it_was_sent(shape):
    sent = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    received = tensors.from_proto(tensors.to_proto(sent))
    assert received.shape == shape
    np.testing.assert_array_equal(received, sent)


@pytest.mark.parametrize(
    "sent",
    [
        np.arange(12, dtype=np.int32).reshape(3, 4).T,
        np.arange(12, dtype=np.int32)[::2],
        np.arange(12, dtype=">i4"),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    ],
    ids=["transposed", "strided", "big-endian", "column-major"],
)
def test_the_memory_order_of_an_array_does_not_matter(sent):
    np.testing.assert_array_equal(tensors.from_proto(tensors.to_proto(sent)), sent)


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (b"a\0b\0", np.array(b"a\0b\0", object)),
        ([b"zeros at the end\0\0", b""], np.array([b"zeros at the end\0\0", b""], object)),
        ([["grün", b"\xff"]], np.array([["grün".encode(), b"\xff"]], object)),
        (np.array(["ab", "c"]), np.array([b"ab", b"c"], object)),
        (np.array([b"ab", "ü"], object), np.array([b"ab", "ü".encode()], object)),
    ],
)
def test_strings_keep_every_byte(sent, received):
    answer = tensors.from_proto(tensors.to_proto(sent))
    assert answer.dtype == object
    assert answer.shape == received.shape
    assert answer.tolist() == received.tolist()


@pytest.mark.parametrize(
    "value",
    [
        np.array([object()]),
        np.array(["2020-01-01"], "datetime64[D]"),
        np.zeros(1, np.longdouble),
        [[1, 2], [3]],
        [b"a", 1],
        None,
    ],
)
def test_a_value_that_is_no_tensor_is_refused_before_sending(value):
    with pytest.raises(RequestError, match=r"Expected .*picture.* Received: "):
        tensors.to_proto(value, "picture")


@pytest.mark.parametrize(
    ("proto", "values"),
    [
        (shaped(pb.DT_FLOAT, [2], float_val=[1.5, 2.5]), [1.5, 2.5]),
        (shaped(pb.DT_DOUBLE, [2], double_val=[1.5, 2.5]), [1.5, 2.5]),
        (shaped(pb.DT_HALF, [2], half_val=[0x3C00, 0xC000]), [1.0, -2.0]),
        (shaped(pb.DT_BFLOAT16, [2], half_val=[0x3F80, 0xC000]), [1.0, -2.0]),
        (shaped(pb.DT_INT8, [2], int_val=[-128, 127]), [-128, 127]),
        (shaped(pb.DT_UINT16, [1], int_val=[65535]), [65535]),
        (shaped(pb.DT_INT64, [1], int64_val=[-(2**63)]), [-(2**63)]),
        (shaped(pb.DT_UINT32, [1], uint32_val=[2**32 - 1]), [2**32 - 1]),
        (shaped(pb.DT_UINT64, [1], uint64_val=[2**64 - 1]), [2**64 - 1]),
        (shaped(pb.DT_BOOL, [2], bool_val=[True, False]), [True, False]),
        (shaped(pb.DT_BOOL, [2], tensor_content=b"\x07\x00"), [True, False]),
        (shaped(pb.DT_COMPLEX64, [2], scomplex_val=[1, 2, 3, 4]), [1 + 2j, 3 + 4j]),
        (shaped(pb.DT_COMPLEX128, [1], dcomplex_val=[1, -2]), [1 - 2j]),
        (shaped(pb.DT_STRING, [2], string_val=[b"a", b""]), [b"a", b""]),
        (shaped(pb.DT_STRING, [3], tensor_content=b"\x01\x00\x02abc"), [b"a", b"", b"bc"]),
    ],
)
def test_every_form_that_a_server_may_choose_is_read(proto, values):
    assert tensors.from_proto(proto).tolist() == values


@pytest.mark.parametrize(
    ("proto", "values"),
    [
        (shaped(pb.DT_FLOAT, [2, 2], float_val=[7]), [[7, 7], [7, 7]]),
        (shaped(pb.DT_INT32, [4], int_val=[1, 2]), [1, 2, 2, 2]),
        (shaped(pb.DT_FLOAT, [3]), [0, 0, 0]),
        (shaped(pb.DT_STRING, [3], string_val=[b"a", b"b\0"]), [b"a", b"b\0", b"b\0"]),
        (shaped(pb.DT_STRING, [2]), [b"", b""]),
    ],
)
def test_the_last_value_stands_for_the_rest(proto, values):
    assert tensors.from_proto(proto).tolist() == values


@pytest.mark.parametrize(
    "proto",
    [
        shaped(pb.DT_FLOAT, [2], tensor_content=b"1234"),
        shaped(pb.DT_FLOAT, [1], tensor_content=b"12345"),
        shaped(pb.DT_FLOAT, [0], tensor_content=b"1234"),
        shaped(pb.DT_FLOAT, [1], float_val=[1, 2]),
        shaped(pb.DT_FLOAT, [-1], float_val=[1]),
        shaped(pb.DT_FLOAT, [2**40], float_val=[1]),
        shaped(pb.DT_FLOAT, [2**62, 2**62], float_val=[1]),
        shaped(pb.DT_FLOAT, [0, 2**62, 2**62]),
        shaped(pb.DT_FLOAT, [1] * 100, float_val=[1]),
        shaped(pb.DT_UINT8, [1], int_val=[300]),
        shaped(pb.DT_HALF, [1], half_val=[-1]),
        shaped(pb.DT_COMPLEX64, [2], scomplex_val=[1, 2, 3]),
        shaped(pb.DT_STRING, [2], tensor_content=b"\x01\x05ab"),
        shaped(pb.DT_STRING, [2], tensor_content=b"\x01"),
        shaped(pb.DT_STRING, [1], tensor_content=b"\xff" * 30),
        shaped(pb.DT_STRING, [1], string_val=[b"a", b"b"]),
        shaped(pb.DT_VARIANT, [1]),
        shaped(pb.DT_INVALID, [1]),
        pb.TensorProto(dtype=99),
        pb.TensorProto(dtype=pb.DT_FLOAT, tensor_shape={"unknown_rank": True}, float_val=[1]),
    ],
)
def test_a_tensor_that_lies_is_an_error_and_not_a_crash(proto):
    with pytest.raises(AnswerError, match=r"Expected .*score.* Received: "):
        tensors.from_proto(proto, "score")


def test_noise_in_place_of_a_tensor_is_read_or_refused_and_never_crashes():
    random = np.random.default_rng(1)
    codes = [*pb.DataType.values(), 99]
    outcomes = set()
    for code, _ in itertools.product(codes, range(40)):
        shape = random.integers(0, 4, random.integers(0, 3)).tolist()
        proto = shaped(code, shape, tensor_content=random.bytes(random.integers(0, 20)))
        proto.int_val.extend(random.integers(-300, 300, random.integers(0, 3)).tolist())
        try:
            assert list(tensors.from_proto(proto, max_bytes=1000).shape) == shape
            outcomes.add("read")
        except AnswerError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_a_few_bytes_cannot_claim_more_memory_than_allowed():
    proto = shaped(pb.DT_FLOAT, [1000], float_val=[1])
    assert tensors.from_proto(proto, max_bytes=4000).shape == (1000,)
    with pytest.raises(AnswerError, match="at most 3999 bytes"):
        tensors.from_proto(proto, max_bytes=3999)


def test_a_received_bool_of_any_byte_but_0_is_true_and_has_the_byte_1():
    received = tensors.from_proto(shaped(pb.DT_BOOL, [2, 2], tensor_content=b"\xff\0\2\x80"))
    assert received.tobytes() == b"\1\0\1\1"
    assert np.logical_not(received).tolist() == [[False, True], [False, False]]


def test_an_answer_is_read_only():
    array = tensors.from_proto(shaped(pb.DT_FLOAT, [2], float_val=[1, 2]))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 3


def test_a_missing_bfloat16_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ml_dtypes", None)
    with pytest.raises(AnswerError, match="ml_dtypes"):
        tensors.from_proto(shaped(pb.DT_BFLOAT16, [1], half_val=[0]))
