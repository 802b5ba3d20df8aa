"""The reader of headers, held against Pillow and against broken, foreign and hostile files."""

from __future__ import annotations

import functools
import io
import struct
import subprocess
import sys
import tracemalloc
import zlib
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

from tfs_client import contract
from tfs_client.errors import ImageError
from tfs_client.images.headers import MAX_BLOCKS, PictureHeader, check_header, read_header

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
MAGICS = (b"\xff\xd8\xff", PNG_MAGIC, b"GIF8", b"BM")
WIDTH, HEIGHT = 23, 11
NOISE = Image.fromarray(np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))


class Kept(NamedTuple):
    """A file, and what Pillow does not say of it in these words."""

    file: bytes
    channels: int
    bits: int = 8
    obstacle: str | None = None


# --- files ---------------------------------------------------------------------------------------


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int, order: str, thumbnail: bytes = b"") -> bytes:
    """Exif with an orientation behind another entry, and a small picture in a second directory."""
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
    """A BMP of noise, with the header that has this many bytes."""
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
    """Whole files of every kind that Pillow opens, by what is special about them."""
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
        "GIF, larger frame": Kept(gif((5, 4), (WIDTH, HEIGHT)), 3, 1),
        "GIF, larger canvas": Kept(gif((40, 60), (WIDTH, HEIGHT)), 3, 1),
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
    """The words in which a file is refused; None where it passes."""
    try:
        check_header(read_header(file), max_pixels=max_pixels, name="this")
    except ImageError as error:
        return str(error)
    return None


# --- whole files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", pictures())
def test_a_header_says_what_pillow_says(name):
    file, channels, bits, obstacle = pictures()[name]
    header = read_header(file)
    with Image.open(io.BytesIO(file)) as image:
        assert (header.format, header.width, header.height) == (image.format, *image.size)
        assert header.orientation == image.getexif().get(0x0112, 1)
    assert (header.channels, header.bits) == (channels, bits)
    if obstacle is None:
        assert header.obstacle is None
        assert refusal(file) is None
    else:
        assert obstacle in header.obstacle
        assert obstacle in refusal(file)


def test_every_format_of_the_contract_is_read():
    formats = {read_header(kept.file).format for kept in pictures().values()}
    assert formats == set(contract.IMAGE_FORMATS)


def test_where_a_frame_lies_on_its_canvas_makes_no_difference():
    file = bytearray(gif((WIDTH, HEIGHT), (5, 4)))
    frame = file.index(b",", 13)
    file[frame + 1 : frame + 5] = struct.pack("<HH", 60_000, 60_000)
    header = read_header(bytes(file))
    assert (header.width, header.height) == (WIDTH, HEIGHT)


def test_any_view_of_the_bytes_reads_as_the_bytes():
    file = pictures()["JPEG, thumbnail"].file
    twice = bytes(byte for pair in zip(file, file) for byte in pair)
    views = [memoryview(file), memoryview(bytearray(file)), memoryview(twice)[::2]]
    even = file + bytes(-len(file) % 4)
    views += [memoryview(even).cast("I"), memoryview(even).cast("B", (len(even) // 4, 4))]
    assert {read_header(view) for view in views} == {read_header(file)}
    with pytest.raises(ImageError, match="Received: 0 bytes"):
        read_header(memoryview(b""))


def test_a_photograph_of_several_pictures_is_its_first():
    file = encoded(NOISE, "MPO", save_all=True, append_images=[NOISE.resize((4, 3))])
    header = read_header(file)
    assert (header.format, header.width, header.height) == ("JPEG", WIDTH, HEIGHT)


def test_what_libjpeg_skips_between_segments_is_skipped():
    file = pictures()["JPEG"].file
    skipped = [b"abc\0", b"abc\xff\0de", b"\xff" * 500, b"\xff\xd0\xff\x01", b"\xff\xe5\0\0"]
    skipped += [b"\xff\xfe\0\x03\xff" + b"\xda"]  # a comment's last byte, and no marker with it
    for rubbish in (*skipped, b"".join(skipped)):
        assert read_header(file[:20] + rubbish + file[20:]) == read_header(file)


def test_the_first_exif_counts():
    first, second = (encoded(NOISE, "JPEG", exif=exif(number, "<")) for number in (6, 3))
    segment = first[20 : 22 + int.from_bytes(first[22:24], "big")]
    assert segment.startswith(b"\xff\xe1")
    assert read_header(second[:20] + segment + second[20:]).orientation == 6


def test_nothing_behind_the_pixels_first_byte_is_looked_at():
    file = pictures()["JPEG"].file
    begin = file.index(b"\xff\xda")
    other = encoded(NOISE.resize((4, 3)), "JPEG")
    assert read_header(file[: begin + 2]) == read_header(file)
    assert read_header(file[: begin + 2] + other) == read_header(file)


@pytest.mark.parametrize(
    "content",
    [
        b"II*\0",
        b"XX*\0" + bytes(50),
        exif(0, "<")[6:],
        exif(9, ">")[6:],
        exif(6, "<")[6:].replace(b"\x12\x01\x03", b"\x12\x01\x04"),  # another type
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff" + bytes(40),
    ],
)
def test_exif_that_makes_no_sense_is_no_orientation(content):
    in_jpeg = encoded(NOISE, "JPEG", exif=b"Exif\0\0" + content)
    in_png = png(2, 8, before=chunk(b"eXIf", content))
    assert [read_header(file).orientation for file in (in_jpeg, in_png)] == [1, 1]


# --- refused -------------------------------------------------------------------------------------


def jpeg_with_frame(place: int, value: bytes) -> bytes:
    """A JPEG whose frame header is changed: 1 its kind, 4 bits, 5 height, 7 width, 9 channels."""
    file = bytearray(pictures()["JPEG"].file)
    place += file.index(b"\xff\xc0")
    file[place : place + len(value)] = value
    return bytes(file)


def test_a_small_file_that_holds_a_huge_picture_is_refused():
    side = struct.pack(">H", 30_000)
    bombs = [
        png(0, 1)[:16] + struct.pack(">II", 30_000, 30_000) + png(0, 1)[24:],
        jpeg_with_frame(5, side + side),
        gif((30_000, 30_000), (1, 1)),
        bmp(24)[:18] + struct.pack("<ii", 30_000, -30_000) + bmp(24)[26:],
    ]
    for bomb in bombs:
        assert refusal(bomb, max_pixels=50_000_000) == (
            "Expected a picture of at most 50000000 pixels. "
            "Received: this of 30000x30000; make it smaller"
        )
    # the server's decoder makes room for a frame, whatever the canvas says
    assert "this of 2000x1500" in refusal(gif((1, 1), (2000, 1500)))


def test_the_largest_size_allowed_is_allowed():
    for kept in (pictures()[name] for name in ("JPEG", "PNG", "GIF", "BMP")):
        assert refusal(kept.file, max_pixels=WIDTH * HEIGHT) is None
        assert "at most 252 pixels" in refusal(kept.file, max_pixels=WIDTH * HEIGHT - 1)


UNUSUAL_JPEGS = [
    (jpeg_with_frame(1, b"\xc3"), "that is lossless or hierarchical"),
    (jpeg_with_frame(1, b"\xc5"), "that is lossless or hierarchical"),
    (jpeg_with_frame(4, b"\x0c"), "of 12 bits a sample"),
    (jpeg_with_frame(9, b"\x02"), "of 2 channels"),
    (jpeg_with_frame(9, b"\x05"), "of 5 channels"),
]


@pytest.mark.parametrize(("file", "words"), UNUSUAL_JPEGS, ids=lambda value: str(value)[-20:])
def test_a_jpeg_that_the_graph_cannot_decode_is_refused(file, words):
    assert refusal(file) == (
        "Expected a picture that the model's graph can decode. "
        f"Received: this, a JPEG {words}; save it as PNG"
    )


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (jpeg_with_frame(5, b"\0\0"), "a JPEG with pixels. Received: 23x0"),
        (jpeg_with_frame(1, b"\xe3"), "a JPEG with a size and then pixels"),
        (b"\xff\xd8\xff\xd9", "a JPEG with a size and then pixels"),
        (jpeg_with_frame(0, b"\xff\xda"), "a JPEG with a size and then pixels"),
        (jpeg_with_frame(19, b"\xff\xd9"), "a JPEG with a size and then pixels"),
        (b"\xff\xd8" + b"\xff\xe0\0\x02" * (MAX_BLOCKS + 1), "a JPEG with a size and then pixels"),
        (png(0, 8, (0, 5)), "a PNG with pixels. Received: 0x5"),
        (png(0, 8)[:16] + struct.pack(">II", 2**31, 5) + png(0, 8)[24:], "Received: 2147483648x5"),
        (png(0, 8).replace(b"IHDR", b"CgBI"), "a PNG. Received: a header that no PNG has"),
        (png(0, 8).replace(b"\x08\0\0\0\0", b"\x03\0\0\0\0", 1), "a header that no PNG has"),
        (png(0, 8).replace(b"\x08\0\0\0\0", b"\x08\x05\0\0\0", 1), "a header that no PNG has"),
        (png(0, 8).replace(b"\x08\0\0\0\0", b"\x08\0\x02\0\0", 1), "a header that no PNG has"),
        (png(0, 8)[:33] + chunk(b"IEND", b""), "a PNG with pixels. Received: none"),
        (PNG_MAGIC + png(0, 8)[8:33] + chunk(b"tEXt", b"") * MAX_BLOCKS, "a PNG with pixels"),
        (gif((0, 5), (4, 4)), "an empty frame or canvas"),
        (b"GIF89a\5\0\5\0\0\0\0;", "a GIF with a frame. Received: none"),
        (b"GIF89a\5\0\5\0\0\0\0!\xfe" + b"\1a" * MAX_BLOCKS, "a GIF with a frame. Received: none"),
        (bmp(24)[:18] + struct.pack("<ii", -5, 5) + bmp(24)[26:], "a BMP with pixels"),
        (bmp(24)[:18] + struct.pack("<ii", 5, 0) + bmp(24)[26:], "Received: 5x0"),
        (bmp(24)[:18] + struct.pack("<ii", 5, -(2**31)) + bmp(24)[26:], "Received: 5x2147483648"),
        (bmp(24)[:28] + b"\x19\0" + bmp(24)[30:], "1 to 32 bits a pixel. Received: 25 bits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_is_refused_in_a_sentence(file, words):
    with pytest.raises(ImageError, match=r"^Expected .* Received: .*; save it again$") as caught:
        read_header(file)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (encoded(NOISE, "WEBP"), "WEBP; save it as PNG"),
        (encoded(NOISE, "TIFF"), "TIFF; save it as PNG"),
        (encoded(NOISE, "JPEG2000"), "JPEG 2000; save"),
        (encoded(NOISE, "ICO"), "an icon (ICO); save"),
        (encoded(NOISE, "PDF"), "PDF; save"),
        (b"\0\0\0\x1cftypavif\0\0\0\0mif1avif", "AVIF; save"),
        (b"\0\0\0\x20ftypmif1\0\0\0\0mif1avifmiaf", "AVIF; save"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC; save"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2", "a video; send one of its frames"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL; save"),
        (b"PK\3\4\x14\0", "ZIP; unpack it"),
        (b"\x1f\x8b\x08\0", "gzip; unpack it"),
        (b'<svg xmlns="http://www.w3.org/2000/svg">', "SVG; save it as PNG"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- cell -->\n<svg>', "SVG; save it as PNG"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied', "XML; look into it: an error page"),
        (b"\n <!DOCTYPE html><html>", "HTML; look into it: an error page"),
        (b'{"error": "not found"}', "JSON; look into it: an error page"),
        (b"[]", "JSON; look into it"),
        (b"/9j/4AAQSkZJRgABAQAAAQ", "base64 text; decode it first"),
        (b"data:image/png;base64,iVBORw0", "base64 text; decode it first"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer; fetch the file: git"),
        (encoded(NOISE, "JPEG").decode("latin1").encode(), "a picture read as text; read and send"),
        (encoded(NOISE, "JPEG").decode(errors="replace").encode(), "a picture read as text"),
        (encoded(NOISE, "PNG").decode("latin1").encode(), "a picture read as text"),
        (encoded(NOISE, "PNG").decode(errors="replace").encode(), "a picture read as text"),
        (encoded(NOISE, "PNG").replace(b"\r\n", b"\n"), "a PNG with other line ends; read and"),
        (encoded(NOISE, "PNG").replace(b"\n", b"\r\n"), "a PNG with other line ends; read and"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_foreign_file_is_refused_by_name(file, words):
    with pytest.raises(ImageError) as caught:
        read_header(file)
    begin = f"Expected a JPEG, PNG, GIF or BMP file. Received: {len(file)} bytes that begin as "
    assert str(caught.value).startswith(begin + words)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (b"", "0 bytes; look whether the file has been written"),
        (b"\xff\xd8", "2 bytes that begin with ff d8;"),
        (b"hello, I am text", "16 bytes that begin with 68 65 6c 6c 6f 2c 20 49;"),
        (b"{ curly, but no JSON", "begin with 7b 20"),
    ],
)
def test_an_unknown_file_is_refused_with_its_first_bytes(file, words):
    with pytest.raises(ImageError, match="Expected a JPEG, PNG, GIF or BMP file") as caught:
        read_header(file)
    assert words in str(caught.value)


# --- broken and hostile --------------------------------------------------------------------------


def read_or_refused(file: bytes) -> PictureHeader | None:
    """What is read, which must be possible, or None; nothing else may be raised."""
    try:
        header = read_header(file)
    except ImageError as error:
        assert str(error).startswith("Expected ")  # noqa: PT017
        return None
    assert header.format in contract.IMAGE_FORMATS
    assert 0 < header.width < 2**31
    assert 0 < header.height < 2**31
    assert 1 <= header.orientation <= 8
    return header


@pytest.mark.parametrize("name", pictures())
def test_a_file_cut_anywhere_is_refused_or_keeps_its_size(name):
    file = pictures()[name].file
    whole, seen = read_header(file), set()
    for length in [*range(min(len(file), 1500)), *range(1500, len(file), 997)]:
        cut = read_or_refused(file[:length])
        assert cut is None or (cut.width, cut.height) == (whole.width, whole.height)
        seen.add(cut is None)
    assert True in seen


def test_a_header_that_is_cut_off_says_so():
    for name, length in (
        ("JPEG", 30),
        ("PNG", 24),
        ("PNG", 36),
        ("GIF", 9),
        ("GIF", 20),
        ("BMP", 20),
    ):
        with pytest.raises(ImageError) as caught:
            read_header(pictures()[name].file[:length])
        assert str(caught.value) == (
            f"Expected a whole {name} file. Received: {length} bytes that end before its pixels "
            "begin; transfer or save it again"
        )


@pytest.mark.parametrize("name", pictures())
def test_changed_bytes_raise_nothing_unexpected(name):
    file = pictures()[name].file
    random = np.random.default_rng(len(file))
    for _ in range(100):
        changed = bytearray(file)
        for place in random.integers(0, min(len(file), 700), random.integers(1, 5)):
            changed[place] = random.choice([0, 1, 0x7F, 0x80, 0xFE, 0xFF, random.integers(256)])
        read_or_refused(bytes(changed))


@given(st.sampled_from(MAGICS), st.binary(max_size=300))
def test_any_bytes_behind_a_magic_number_raise_nothing_unexpected(magic, noise):
    read_or_refused(magic + noise)
    read_or_refused(noise)


@given(st.lists(st.tuples(st.integers(1, 254), st.integers(0, 40), st.binary(max_size=20))))
def test_any_segments_raise_nothing_unexpected(segments):
    read_or_refused(
        b"\xff\xd8"
        + b"".join(
            bytes((0xFF, marker, 0, length)) + content for marker, length, content in segments
        )
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"IDAT", b"tRNS", b"eXIf", b"IEND", b"tEXt"]),
            st.sampled_from([0, 5, 2**31, 2**32 - 1]),
            st.binary(max_size=20),
        )
    )
)
def test_any_chunks_raise_nothing_unexpected(chunks):
    file = png(3, 4)[:33]
    for kind, length, content in chunks:
        file += struct.pack(">I", length) + kind + content
    read_or_refused(file)


def test_claimed_sizes_are_never_allocated():
    behind = b"\xff\xff\xff\xff"
    files = [
        png(2, 8)[:33] + behind + b"eXIf" + exif(6, ">")[6:],
        png(2, 8)[:33] + behind + b"IDAT",
        png(0, 1)[:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + png(0, 1)[24:],
        jpeg_with_frame(5, behind),
        b"\xff\xd8\xff\xe1\xff\xffExif\0\0II*\0\x08\0\0\0\xff\xff",
    ]
    tracemalloc.start()
    try:
        for file in files:
            read_or_refused(file)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_headers_are_read_without_pillow():
    script = f"""
import sys
sys.modules["PIL"] = None  # as if it were not installed
from tfs_client.images.headers import read_header
print(read_header({pictures()["GIF"].file!r}).width)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{WIDTH}\n"
