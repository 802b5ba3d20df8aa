"""Picture files of every kind, written byte by byte or by Pillow."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from tfs_client.errors import ImageError
from tfs_client.images.headers import check_header, read_header

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


MAGICS = (b"\xff\xd8\xff", PNG_MAGIC, b"GIF8", b"BM")


WIDTH, HEIGHT = 23, 11


NOISE = Image.fromarray(np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))


class Kept(NamedTuple):
    """A file, and what the reader should say of it beyond what Pillow says."""

    file: bytes
    channels: int
    bits: int = 8
    obstacle: str | None = None


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int, order: str, thumbnail: bytes = b"") -> bytes:
    """Exif: another entry, then the orientation, and a thumbnail in a second directory."""
    tiff = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
    tiff += struct.pack(order + "H", 2)
    tiff += struct.pack(order + "HHIHH", 0x0100, 3, 1, 9, 0)  # a width that is not the picture's
    tiff += struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff += struct.pack(order + "IH", 38, 2)
    tiff += struct.pack(order + "HHII", 0x0201, 4, 1, 68)
    tiff += struct.pack(order + "HHII", 0x0202, 4, 1, len(thumbnail))
    return b"Exif\0\0" + tiff + struct.pack(order + "I", 0) + thumbnail


def chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def png(
    colour: int,
    bits: int,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    *,
    interlaced: bool = False,
    before: bytes = b"",
    behind: bytes = b"",
) -> bytes:
    """A black PNG of any kind; with the chunks `before` and `behind` its pixels."""
    bits_of_pixel = bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    passes = [(0, 0, 1, 1)]
    if interlaced:  # Adam7: first column, first row, steps
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)]
        passes += [(0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for x, y, step_x, step_y in passes:
        columns, lines = -(-(size[0] - x) // step_x), -(-(size[1] - y) // step_y)
        rows += bytes((1 + (columns * bits_of_pixel + 7) // 8) * lines) if columns > 0 else b""
    return (
        PNG_MAGIC
        + chunk(b"IHDR", struct.pack(">II5B", *size, bits, colour, 0, 0, interlaced))
        + (chunk(b"PLTE", bytes(range(6))) if colour == 3 else b"")
        + before
        + chunk(b"IDAT", zlib.compress(rows))
        + behind
        + chunk(b"IEND", b"")
    )


GREY_PALETTE = b"".join(bytes((level, level, level, 0)) for level in range(256))


OLD_GREY_PALETTE = b"".join(bytes((level,) * 4) for level in range(256))


def bmp(
    bits: int,
    *,
    header: int = 40,
    top_down: bool = False,
    compression: int = 0,
    palette: bytes | None = None,
) -> bytes:
    """A BMP of noise whose header has `header` bytes."""
    if palette is None:
        palette = GREY_PALETTE[-4 << bits :] if bits <= 8 else b""
    row = (WIDTH * bits + 31) // 32 * 4
    pixels = np.random.default_rng(bits).integers(0, 256, row * HEIGHT, np.uint8).tobytes()
    if header == 12:
        fields = struct.pack("<I4H", 12, WIDTH, HEIGHT, 1, bits)
        palette = b"".join(palette[place : place + 3] for place in range(0, len(palette), 4))
    else:
        height = -HEIGHT if top_down else HEIGHT
        fields = struct.pack("<IiiHHII", header, WIDTH, height, 1, bits, compression, len(pixels))
        fields += struct.pack("<iiII", 2835, 2835, len(palette) // 4, 0)
        masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
        fields += (masks if header > 64 else b"").ljust(header - 40, b"\0")
    offset = 14 + len(fields) + len(palette)
    return struct.pack("<2sIII", b"BM", offset + len(pixels), 0, offset) + fields + palette + pixels


def gif(canvas: tuple[int, int], frame: tuple[int, int]) -> bytes:
    """A GIF whose frame is as large as it says, on a canvas of another size."""
    file = bytearray(encoded(Image.new("P", frame), "GIF"))
    file[6:10] = struct.pack("<HH", *canvas)
    return bytes(file)


@functools.cache
def pictures() -> dict[str, Kept]:
    """Whole files of every kind that Pillow opens; the key says what is special."""
    grey, palette, bilevel = (NOISE.convert(mode) for mode in "LP1")
    small = encoded(NOISE.resize((8, 6)), "JPEG")
    see_through = chunk(b"tRNS", b"\0\x80")
    turned = exif(6, ">").removeprefix(b"Exif\0\0")
    black = gif((WIDTH, HEIGHT), (WIDTH, HEIGHT))
    kept = {
        "JPEG": Kept(encoded(NOISE, "JPEG"), 3),
        "JPEG, grey": Kept(encoded(grey, "JPEG"), 1),
        "JPEG, CMYK": Kept(encoded(NOISE.convert("CMYK"), "JPEG"), 4),
        "JPEG, progressive": Kept(encoded(NOISE, "JPEG", progressive=True, optimize=True), 3),
        "JPEG, 4:2:0": Kept(encoded(NOISE, "JPEG", subsampling=2), 3),
        "JPEG, restarts": Kept(encoded(NOISE, "JPEG", restart_marker_blocks=1), 3),
        "JPEG, comment": Kept(encoded(NOISE, "JPEG", comment=b"\xff\xc0\0\x11\x08"), 3),
        "JPEG, profile": Kept(encoded(NOISE, "JPEG", icc_profile=b"\xff\xc2" * 100_000), 3),
        "JPEG, thumbnail": Kept(encoded(NOISE, "JPEG", exif=exif(3, "<", small)), 3),
        "PNG": Kept(encoded(NOISE, "PNG"), 3),
        "PNG, grey": Kept(encoded(grey, "PNG"), 1),
        "PNG, 1 bit": Kept(encoded(bilevel, "PNG"), 1, 1),
        "PNG, 16 bits": Kept(encoded(Image.new("I;16", (WIDTH, HEIGHT)), "PNG"), 1, 16),
        "PNG, grey and alpha": Kept(encoded(NOISE.convert("LA"), "PNG"), 2),
        "PNG, alpha": Kept(encoded(NOISE.convert("RGBA"), "PNG"), 4),
        "PNG, palette": Kept(encoded(palette, "PNG"), 3),
        "PNG, palette of 4 bits": Kept(encoded(NOISE.quantize(9), "PNG", bits=4), 3, 4),
        "PNG, palette with alpha": Kept(png(3, 2, before=see_through), 4, 2),
        "PNG, grey with a transparent one": Kept(png(0, 8, before=see_through), 1),
        "PNG, Exif": Kept(png(2, 8, before=chunk(b"eXIf", turned)), 3),
        "PNG, Exif behind the pixels": Kept(png(2, 8, behind=chunk(b"eXIf", turned)), 3),
        "PNG, many chunks": Kept(png(0, 4, before=chunk(b"tEXt", b"a\0IDAT") * 500), 1, 4),
        "GIF": Kept(encoded(palette, "GIF"), 3),
        "GIF, 8 colours": Kept(encoded(NOISE.quantize(8), "GIF"), 3, 3),
        "GIF, palette of its frame": Kept(
            # two colours for all frames replaced by eight for the one
            black[:10] + b"\0\0\0" + black[19:28] + b"\x82" + bytes(24) + black[29:],
            3,
            3,
        ),
        "GIF, comment": Kept(encoded(palette, "GIF", comment=b"," * 700), 3),
        "GIF, animated": Kept(
            encoded(palette, "GIF", save_all=True, append_images=[palette.rotate(90)], loop=0), 3
        ),
        "GIF, larger frame": Kept(gif((5, 4), (WIDTH, HEIGHT)), 3, 1, "canvas"),
        "GIF, larger canvas": Kept(gif((40, 60), (WIDTH, HEIGHT)), 3, 1, "canvas"),
        "BMP": Kept(encoded(NOISE, "BMP"), 3),
        "BMP, grey": Kept(encoded(grey, "BMP"), 1),
        "BMP, grey, top down": Kept(bmp(8, top_down=True), 1),
        "BMP, grey, of an old Pillow": Kept(bmp(8, palette=OLD_GREY_PALETTE), 1),
        "BMP, top down": Kept(bmp(24, top_down=True), 3),
        "BMP, 32 bits": Kept(bmp(32), 4),
        "BMP, palette": Kept(encoded(palette, "BMP"), 3, 8, "without a palette of 256 grey levels"),
        "BMP, 1 bit": Kept(encoded(bilevel, "BMP"), 3, 1, "of 1 bits a pixel"),
        "BMP, 4 bits": Kept(bmp(4), 3, 4, "of 4 bits a pixel"),
        "BMP, 16 bits": Kept(bmp(16), 3, 5, "of 16 bits a pixel"),
        "BMP, bit fields": Kept(bmp(32, header=108, compression=3), 4, 8, "with compression 3"),
        "BMP, run lengths": Kept(bmp(8, compression=1), 1, 8, "with compression 1"),
        "BMP, OS/2": Kept(bmp(24, header=12), 3, 8, "with a header of OS/2"),
        "BMP, OS/2, 8 bits": Kept(bmp(8, header=12), 3, 8, "without a palette of 256 grey levels"),
        "BMP, grey, version 5": Kept(bmp(8, header=124), 3, 8, "256 grey levels at byte 54"),
    }
    for orientation in range(1, 9):
        for order in "<>":
            file = encoded(NOISE, "JPEG", exif=exif(orientation, order))
            kept[f"JPEG, {order}{orientation}"] = Kept(file, 3)
    for colour, channels in ((0, 1), (2, 3), (3, 3), (4, 2), (6, 4)):
        for bits in (1, 2, 4, 8, 16):
            if (colour == 0 or bits >= 8 or colour == 3) and (colour, bits) != (3, 16):
                for interlaced in (False, True):
                    name = f"PNG, colour type {colour}, {bits} bits, interlaced {interlaced}"
                    kept[name] = Kept(png(colour, bits, interlaced=interlaced), channels, bits)
    for header in (40, 64, 108, 124):
        kept[f"BMP, header of {header}"] = Kept(bmp(24, header=header), 3)
        kept[f"BMP, 32 bits, header of {header}"] = Kept(bmp(32, header=header), 4)
    return kept


def refusal(file: bytes, *, max_pixels: int = 1_000_000) -> str | None:
    """The error's text if the file is refused, else None."""
    try:
        check_header(read_header(file), max_pixels=max_pixels, name="this")
    except ImageError as error:
        return str(error)
    return None


def jpeg_with_frame(place: int, value: bytes) -> bytes:
    """A JPEG with bytes of its frame header changed.

    Args:
        place: 1 is the kind, 4 the bits, 5 the height, 7 the width, 9 the channels.
        value: what to write there.
    """
    file = bytearray(pictures()["JPEG"].file)
    place += file.index(b"\xff\xc0")
    file[place : place + len(value)] = value
    return bytes(file)


UNUSUAL_JPEGS = [
    (jpeg_with_frame(1, b"\xc3"), "that is lossless or hierarchical"),
    (jpeg_with_frame(1, b"\xc5"), "that is lossless or hierarchical"),
    (jpeg_with_frame(4, b"\x0c"), "of 12 bits a sample"),
    (jpeg_with_frame(9, b"\x02"), "of 2 channels"),
    (jpeg_with_frame(9, b"\x05"), "of 5 channels"),
]
