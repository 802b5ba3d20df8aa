"""Small files that ask for much: what a version must refuse, or answer at little cost.

    for name, make in FILES.items():
        content = make()

Each is made by code, so that none has to be kept or licensed. They are the kinds that ended, filled
or blocked a server: a decoder believes a number in the file, and the number is large. A version
that is published answers each within the bounds below, and beside it a good file as ever.
"""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Callable

import PIL.Image

MEMORY_BYTES = 64 * 2**20
"""What a file may cost beyond FRAME_FACTOR times the pixels of its first frame."""

FRAME_FACTOR = 4

SECONDS = 3.0
"""What a file of FILES may cost, on any machine: it is refused, or small."""

Make = Callable[[], bytes]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _chunk(kind: bytes, content: bytes = b"", claimed: int | None = None) -> bytes:
    """A chunk of a PNG; `claimed` is the length that it says, if not its own."""
    length = len(content) if claimed is None else claimed
    return (
        struct.pack(">I", length) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    )


def _png(
    width: int, height: int, *, before: bytes = b"", behind: bytes = b"", bits: int = 8
) -> bytes:
    """A black grey PNG of this size, with chunks before and behind its pixels."""
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    row = b"\0" * (1 + (width * bits + 7) // 8)
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    parts = [_chunk(b"IHDR", header), before, _chunk(b"IDAT", pixels), behind, _chunk(b"IEND")]
    return _SIGNATURE + b"".join(parts)


def _png_claiming(kind: bytes, behind_pixels: bool) -> bytes:
    lie = _chunk(kind, claimed=0x7FFFFFFE)[:9]
    whole = _png(1, 1)
    return (whole[: -len(_chunk(b"IEND"))] if behind_pixels else whole[:33]) + lie


def _png_unpacking(kind: bytes, head: bytes) -> bytes:
    """Text or a profile of 512 MiB in half a megabyte."""
    packer = zlib.compressobj(9)
    block = bytes(2**20)
    packed = b"".join(packer.compress(block) for _ in range(512)) + packer.flush()
    return _png(8, 8, before=_chunk(kind, head + packed))


def _png_of_chunks(kind: bytes) -> bytes:
    return _png(8, 8, before=_chunk(kind) * 200_000)


def _gif(canvas: tuple[int, int], *frames: tuple[tuple[int, int], bytes]) -> bytes:
    """A GIF of these frames: what size each claims, and the pixels behind that."""
    parts = [b"GIF89a", struct.pack("<HHBBB", *canvas, 0x80, 0, 0), bytes(6)]
    for size, pixels in frames:
        parts += [b",", struct.pack("<HHHHB", 0, 0, *size, 0), pixels]
    return b"".join(parts) + b";"


@functools.cache
def _gif_pixels(width: int, height: int) -> bytes:
    """Black pixels, packed, as they stand behind a frame's size."""
    target = io.BytesIO()
    PIL.Image.new("1", (width, height)).convert("P", colors=2).save(target, "GIF")
    content = target.getvalue()
    start = 13 + (6 << (content[10] & 7) if content[10] & 0x80 else 0)
    while content[start : start + 1] == b"!":  # an extension: its parts, each with its length
        start += 2
        while content[start]:
            start += 1 + content[start]
        start += 1
    own = content[start + 9]
    return content[start + 10 + (6 << (own & 7) if own & 0x80 else 0) : -1]


def _jpeg_of_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG that refines its pixels again and again."""
    target = io.BytesIO()
    PIL.Image.new("RGB", (side, side), (90, 120, 60)).save(target, "JPEG", progressive=True)
    content = target.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * scans + content[-2:]


def _bmp(width: int, height: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


FILES: dict[str, Make] = {
    **{
        f"png_{kind.decode()}_claims_2_gib_{'behind' if behind else 'before'}_pixels": (
            functools.partial(_png_claiming, kind, behind)
        )
        for kind in (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"sPLT", b"abCd")
        for behind in (False, True)
    },
    "png_text_unpacks_to_512_mib": lambda: _png_unpacking(b"zTXt", b"x\0\0"),
    "png_profile_unpacks_to_512_mib": lambda: _png_unpacking(b"iCCP", b"x\0\0"),
    "png_of_200000_comments": lambda: _png_of_chunks(b"tEXt"),
    "png_of_200000_empty_parts": lambda: _png_of_chunks(b"IDAT"),
    "png_1_wide_1000000_high": lambda: _png(1, 1_000_000),
    "png_1000000_wide_1_high": lambda: _png(1_000_000, 1),
    "png_of_100_megapixels": lambda: _png(10_000, 10_000, bits=1),
    "gif_first_frame_30000x20000": lambda: _gif((10, 10), ((30_000, 20_000), _gif_pixels(10, 10))),
    "gif_second_frame_30000x20000": lambda: _gif(
        (10, 10), ((10, 10), _gif_pixels(10, 10)), ((30_000, 20_000), _gif_pixels(10, 10))
    ),
    "gif_canvas_60000x60000": lambda: _gif((60_000, 60_000), ((10, 10), _gif_pixels(10, 10))),
    "gif_of_1000_frames": lambda: _gif(
        (1000, 1000), *[((1000, 1000), _gif_pixels(1000, 1000))] * 1000
    ),
    "gif_of_1000000_empty_parts": lambda: _gif((8, 8), ((8, 8), b"\x02" + b"\x01\0" * 1_000_000)),
    "jpeg_of_1000_scans": lambda: _jpeg_of_scans(2000, 1000),
    "bmp_of_2_gigapixels": lambda: _bmp(50_000, 40_000),
}
"""By a name that says what each asks for."""


def _field(number: int, content: bytes, claimed: int | None = None) -> bytes:
    """A field of a protocol buffer with a length; `claimed` is the length it says."""
    length, varint = len(content) if claimed is None else claimed, bytearray()
    while length > 0x7F:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    varint.append(length)
    return bytes((number << 3 | 2,)) + bytes(varint) + content


def _example(name: bytes, feature: bytes) -> bytes:
    """A serialized tf.Example of one feature."""
    return _field(1, _field(1, _field(1, name) + _field(2, feature)))


_ENCODED = b"image/encoded"

EXAMPLES: dict[str, Make] = {
    f"{what}_claims_{claimed}": functools.partial(_example, name, _field(list_, inner))
    for claimed in (2**31 - 1, 2**31, 2**32 - 1, 2**40)
    for what, name, list_, inner in (
        ("bytes", _ENCODED, 1, _field(1, b"x", claimed)),
        ("floats", b"other", 2, _field(1, b"x", claimed)),
        ("integers", b"other", 3, _field(1, b"x", claimed)),
        ("floats_in_its_place", _ENCODED, 2, _field(1, b"x", claimed)),
    )
} | {
    f"{what}_claims_{claimed}": functools.partial(bytes.__add__, b"", content)
    for claimed in (2**31, 2**32 - 1)
    for what, content in (
        ("example", _field(1, b"x", claimed)),
        ("features", _field(1, _field(1, b"x", claimed))),
        ("key", _field(1, _field(1, _field(1, b"x", claimed)))),
        ("feature", _field(1, _field(1, _field(1, _ENCODED) + _field(2, b"x", claimed)))),
        ("list", _example(_ENCODED, _field(1, b"x", claimed))),
    )
}
"""Serialized tf.Examples whose lengths lie, by a name that says which one."""


def example(file: bytes) -> bytes:
    """A serialized tf.Example that holds an image file, as `classify` takes it."""
    return _example(_ENCODED, _field(1, _field(1, file)))
