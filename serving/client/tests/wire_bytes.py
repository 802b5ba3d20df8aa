"""Answers to Predict as bytes, in every form that protobuf allows, and in many that it does not.

Written without the code under test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tfs_client.wire import serving_pb2 as pb

FORMS = ["tensor_content", "packed", "unpacked", "chunks", "compressed", "backwards", "unknown"]
"""The ways to write a tensor; "unknown" adds fields that this client does not have."""

_FIELDS = {
    **{"float32": ("float_val", 5), "float64": ("double_val", 6), "complex64": ("scomplex_val", 9)},
    **{"complex128": ("dcomplex_val", 12), "float16": ("half_val", 13), "bool": ("bool_val", 11)},
    **{"bfloat16": ("half_val", 13), "int64": ("int64_val", 10), "uint32": ("uint32_val", 16)},
    **{"uint64": ("uint64_val", 17)},
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16"), ("int_val", 7)),
}
_WIDTHS = {
    "float_val": (5, 4),
    "scomplex_val": (5, 4),
    "double_val": (1, 8),
    "dcomplex_val": (1, 8),
}
"""Fields of numbers of a fixed width: their wire type, and the width."""

_CODES = {
    **{"float32": pb.DT_FLOAT, "float64": pb.DT_DOUBLE, "float16": pb.DT_HALF},
    **{"int8": pb.DT_INT8, "int16": pb.DT_INT16, "int32": pb.DT_INT32, "int64": pb.DT_INT64},
    **{"uint8": pb.DT_UINT8, "uint16": pb.DT_UINT16, "uint32": pb.DT_UINT32},
    **{"uint64": pb.DT_UINT64, "bool": pb.DT_BOOL, "complex64": pb.DT_COMPLEX64},
    **{"complex128": pb.DT_COMPLEX128, "bfloat16": pb.DT_BFLOAT16, "object": pb.DT_STRING},
}


def number(value: int, width: int = 0) -> bytes:
    """A varint of at least `width` bytes."""
    out = bytearray()
    while value > 0x7F or len(out) + 1 < width:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def varint(at: int, value: int) -> bytes:
    """A varint field with the number `at`."""
    return number(at << 3) + number(value)


def field(at: int, content: bytes) -> bytes:
    """A field of bytes with the number `at`."""
    return number(at << 3 | 2) + number(len(content)) + content


def padded(one_field: bytes, width: int) -> bytes:
    """A field of bytes (of less than 128) whose length is written in `width` bytes."""
    return one_field[:1] + number(one_field[1], width) + one_field[2:]


def response(outputs: Mapping[str, bytes], spec: pb.ModelSpec) -> bytes:
    """A PredictResponse as a server usually writes it."""
    entries = (field(1, name.encode()) + field(2, tensor) for name, tensor in outputs.items())
    return b"".join(field(1, entry) for entry in entries) + field(2, spec.SerializeToString())


def tensor(array: np.ndarray, form: str) -> bytes:
    """A TensorProto with the array ("compressed": its first value stands for all)."""
    start = [varint(1, _CODES[array.dtype.name]), field(2, _shape(array.shape))]
    if form == "tensor_content":
        values = [field(4, _content(array))] if array.size else []
    else:
        values = _values(array, form)
    if form == "backwards":
        return b"".join([*values, *reversed(start)])
    if form == "unknown":
        return b"".join([field(99, b"?"), start[0], varint(3, 7), start[1], varint(98, 1), *values])
    return b"".join([*start, *values])


def _shape(sizes: tuple[int, ...]) -> bytes:
    return b"".join(field(2, varint(1, size % 2**64)) for size in sizes)


def _content(array: np.ndarray) -> bytes:
    if array.dtype != object:
        return array.tobytes()
    strings = array.ravel().tolist()
    return b"".join(number(len(one)) for one in strings) + b"".join(strings)


def _values(array: np.ndarray, form: str) -> list[bytes]:
    """The array's values in *_val fields."""
    flat = array.ravel()[: 1 if form == "compressed" else None]
    if array.dtype == object:
        return [field(8, one) for one in flat.tolist()]
    name, at = _FIELDS[array.dtype.name]
    if name == "half_val":
        flat = flat.view(np.uint16)
    if name in _WIDTHS:
        wire_type, width = _WIDTHS[name]
        content = flat.tobytes()
        pieces = [content[i : i + width] for i in range(0, len(content), width)]
    else:
        wire_type = 0
        pieces = [number(int(one) % 2**64) for one in flat]
    if form == "unpacked":
        return [number(at << 3 | wire_type) + piece for piece in pieces]
    if form == "chunks":
        return [field(at, b"".join(pieces[i : i + 2])) for i in range(0, len(pieces), 2)]
    return [field(at, b"".join(pieces))] if pieces else []


_SIZES = st.one_of(
    st.integers(0, 3), st.sampled_from([-1, -(2**63), 2**20, 2**40, 2**62, 2**63 - 1])
)


@st.composite
def _tensors(draw: Any) -> bytes:
    """A tensor in any order of its parts; in one of four cases they may not fit each other."""
    name = draw(st.sampled_from([*_CODES]))
    shape = tuple(draw(st.lists(st.integers(1, 3), max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    if name == "object":
        array = np.array([rng.bytes(n % 5) for n in range(int(np.prod(shape)))], object)
        array = array.reshape(shape)
    elif name == "bfloat16":
        import ml_dtypes

        array = rng.integers(0, 2, shape).astype(ml_dtypes.bfloat16)
    else:
        array = rng.integers(0, 2, shape).astype(name)
    if draw(st.integers(0, 3)):  # well formed, in three of four cases
        return tensor(array, draw(st.sampled_from(FORMS)))
    pieces = [
        varint(1, draw(st.sampled_from([_CODES[name], _CODES[name], 0, 20, 21, 99, 2**31, 2**35]))),
        field(2, _shape(tuple(draw(st.lists(_SIZES, max_size=3))))),
        *_values(array, draw(st.sampled_from(["packed", "unpacked", "chunks"]))),
        *draw(
            st.lists(
                st.sampled_from(
                    [
                        field(2, varint(3, 1)),  # unknown rank
                        field(2, field(2, varint(1, 2) + field(2, b"rows"))),
                        field(4, _content(array)),
                        field(4, b"123"),
                        field(5, b"1234"),
                        field(8, b"a"),
                        varint(7, 300),
                        varint(13, 2**17),
                        varint(3, 1),
                        varint(50, 1),
                    ]
                ),
                max_size=2,
            )
        ),
    ]
    return b"".join(draw(st.permutations(pieces)))


@st.composite
def responses(draw: Any) -> bytes:
    """A PredictResponse, well formed or not."""
    names = st.sampled_from([b"y", b"probability", "näme".encode(), b"x" * 130, b"", b"\xff"])
    parts = []
    for _ in range(draw(st.integers(0, 4))):
        entry = [field(1, draw(names)), field(2, draw(_tensors()))]
        oddity = draw(st.integers(0, 11))
        if oddity == 0:
            entry.reverse()
        elif oddity == 1:
            entry.pop(draw(st.integers(0, 1)))
        elif oddity == 2:
            entry.append(varint(3, 1))
        parts.append(field(1, b"".join(entry)))
    specs = st.builds(
        pb.ModelSpec,
        name=st.sampled_from(["", "m", "modèle"]),
        version=st.one_of(
            st.none(),
            st.builds(lambda v: {"value": v}, st.sampled_from([0, 1, -1, 2**40, 2**63 - 1])),
        ),
        signature_name=st.sampled_from(["", "s"]),
    )
    parts += [field(2, spec.SerializeToString()) for spec in draw(st.lists(specs, max_size=2))]
    if not draw(st.integers(0, 5)):
        parts.append(draw(st.sampled_from([varint(3, 1), field(9, b"?"), b"\0", b"\x0a\x05"])))
    return b"".join(draw(st.permutations(parts)))


def honest() -> list[bytes]:
    """Well-formed answers, which `mutations` breaks."""
    spec = pb.ModelSpec(name="echo", version={"value": 2}, signature_name="serving_default")
    strings = np.array([b"sound", b"", b"defective"], object)
    return [
        response({"y": tensor(np.float32([0.5, 2, 3]), "packed")}, spec),
        response({"y": tensor(np.uint8([[1, 2], [3, 4]]), "tensor_content")}, spec),
        response({"y": tensor(strings, "packed")}, spec),
        response({"y": tensor(strings, "tensor_content")}, spec),
        response({"y": tensor(np.int64([[300, 5]]), "packed")}, spec),
        response(
            {
                "probability": tensor(np.float32([0.5, 2]), "packed"),
                "valid": tensor(np.array([True, False]), "packed"),
                "label": tensor(strings[:2], "packed"),
            },
            spec,
        ),
    ]


def mutations(count: int) -> Iterator[bytes]:
    """Well-formed answers with bits flipped and bytes removed, inserted or repeated.

    The same ones in every run.
    """
    rng = np.random.default_rng(11)
    usual = honest()
    for turn in range(count):
        data = bytearray(usual[turn % len(usual)])
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(0, len(data) + 1))
            kind = rng.integers(0, 6)
            if kind <= 1 and at < len(data):
                data[at] ^= 1 << int(rng.integers(0, 8))
            elif kind == 2:
                del data[at : at + int(rng.integers(1, 9))]
            elif kind == 3:
                data[at:at] = rng.bytes(rng.integers(1, 5))
            elif kind == 4:
                data[at:at] = data[at : at + int(rng.integers(1, 20))]
            elif at < len(data):
                data[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
        yield bytes(data)
