"""Why a picture that was sent is not valid: a server says only that it is not.

The header was read before the file was sent. So the file is walked through to its end here, which
shows one that was cut off, or damaged under way. Where the bytes look whole, the reason is in the
pixels or in a limit of the model's, and only the server knows which.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Final

from tfs_client import contract
from tfs_client.answers import Prediction
from tfs_client.images.headers import MAX_BLOCKS, read_header
from tfs_client.images.pictures import Picture

MAX_PARTS: Final = 200_000
"""Of a GIF's frame, which has parts of at most 255 bytes; some milliseconds."""


def reason(picture: Picture, prediction: Prediction) -> str:
    """One sentence: what the model expects, what it got, and what to do.

    Args:
        picture: as it was sent.
        prediction: of the version that calls it not valid.
    """
    who = f"version {prediction.version} of {prediction.model}"
    if picture.content is None:
        height, width = _size(picture.pixels)
        return (
            f"Expected pixels that {who} takes for a picture. Received: "
            f"{picture.source or 'pixels'} of {width}x{height}, which it calls not valid; it says "
            "no more"
        )
    name = picture.source or "a file"
    header = read_header(picture.content)
    fault = _fault(header.format, picture.content)
    if fault:
        return (
            f"Expected a whole {header.format} file. Received: {name} of {len(picture.content)} "
            f"bytes, {fault}; transfer or save it again"
        )
    return (
        f"Expected a file that {who} can decode. Received: {name}, a {header.format} of "
        f"{header.width}x{header.height}, whole as far as its bytes tell; its pixels are broken, "
        "or it is beyond a limit of the model's. Open it and save it again as PNG, or smaller"
    )


def _size(pixels: object) -> tuple[int, int]:
    """(height, width) of an array [H, W, 3] or of a Pillow image."""
    shape = getattr(pixels, "shape", None)
    if shape is None:
        shape = (getattr(pixels, "height", 0), getattr(pixels, "width", 0))
    return shape[0], shape[1]


def _fault(kind: str, content: bytes) -> str:
    """What is wrong behind the header; empty where nothing is seen."""
    try:
        return _WALKS[kind](content)
    except (struct.error, IndexError):
        return "which end in the middle of a part"


def _png(content: bytes) -> str:
    position = 8
    for _ in range(MAX_BLOCKS):
        if position == len(content):
            return "which end before the end of the picture (IEND)"
        length, kind = struct.unpack_from(">I4s", content, position)
        body = content[position + 4 : position + 8 + length]
        (told,) = struct.unpack_from(">I", content, position + 8 + length)
        # Decoders pass over the parts with a name in lower case.
        if zlib.crc32(body) != told and kind[:1].isupper():
            return f"whose part {kind.decode('ascii', 'replace')} does not match its checksum"
        if kind == b"IEND":
            return ""
        position += 12 + length
    return ""


def _jpeg(content: bytes) -> str:
    """A thumbnail has an end of its own: only the one behind the last scan counts."""
    scan, end = content.rfind(b"\xff\xda"), content.rfind(b"\xff\xd9")
    return "" if scan < end else "which end before the end of the picture (EOI)"


def _gif(content: bytes) -> str:
    flags = content[10]
    position = 13 + (6 << (flags & 7) if flags & 0x80 else 0)
    while content[position] == 0x21:  # extensions: parts of up to 255 bytes, then an empty one
        position = _behind_parts(content, position + 2)
    own = content[position + 9]
    position += 10 + (6 << (own & 7) if own & 0x80 else 0)
    _behind_parts(content, position + 1)  # behind the size of a code: the first frame's pixels
    return ""


def _behind_parts(content: bytes, position: int) -> int:
    for _ in range(MAX_PARTS):
        if not content[position]:
            break
        position += 1 + content[position]
    return position + 1


def _bmp(content: bytes) -> str:
    start, header_bytes = struct.unpack_from("<II", content, 10)
    if header_bytes < 40:
        return ""
    width, height, _, bits = struct.unpack_from("<iiHH", content, 18)
    missing = start + (width * bits + 31) // 32 * 4 * abs(height) - len(content)
    return f"which lack the last {missing} of the picture" if missing > 0 else ""


_WALKS: Final[dict[str, Callable[[bytes], str]]] = dict(
    zip(contract.IMAGE_FORMATS, (_jpeg, _png, _gif, _bmp), strict=True)
)
