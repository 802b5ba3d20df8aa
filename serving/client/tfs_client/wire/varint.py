"""protobuf's numbers of variable length: seven bits a byte, the lowest first.

https://protobuf.dev/programming-guides/encoding/#varints
"""

from __future__ import annotations

from typing import Final

LENGTH_SHIFT: Final = 28
"""Where the last byte of a length's bits belong: five bytes, as lengths have 31 bits."""

NUMBER_SHIFT: Final = 63
"""The same for any number: ten bytes, for 64 bits."""


def encode(value: int) -> bytes:
    """A number that is not negative."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read(data: bytes, at: int, last_shift: int = LENGTH_SHIFT) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends.

    Args:
        data: holds it.
        at: its first byte.
        last_shift: where the bits of its last byte may belong at most, which bounds its bytes.

    Raises:
        ValueError: it has more bytes than that.
        IndexError: the data ends before it does.
    """
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    value, shift = byte & 0x7F, 7
    while True:
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at + 1
        shift += 7
        if shift > last_shift:
            raise ValueError(f"Expected a varint that ends by byte {at}. Received: a longer one")
