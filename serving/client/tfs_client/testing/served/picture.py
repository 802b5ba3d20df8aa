"""A picture for tests, written without Pillow."""

from __future__ import annotations

import struct
import zlib

from tfs_client.testing.served.wording import ScriptError


def example_picture(width: int = 64, height: int = 64, *, grey: int = 128) -> bytes:
    """The content of a PNG file: one grey level, RGB.

    Args:
        width: in pixels.
        height: in pixels.
        grey: 0-255; pictures of different levels are different files.

    Raises:
        ScriptError: a size below 1, or a level that is none.
    """
    if not (0 < width < 2**15 and 0 < height < 2**15 and 0 <= grey <= 255):
        raise ScriptError(
            "Expected a width and a height in pixels, and a grey level from 0 to 255. "
            f"Received: {width}x{height}, grey={grey}"
        )
    row = b"\0" + bytes([grey]) * (3 * width)  # no filter, then the pixels
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row * height)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
