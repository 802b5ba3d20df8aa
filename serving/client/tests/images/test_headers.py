"""The reader of headers: what Pillow says of whole files, and what it refuses."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image

from tfs_client import contract
from tfs_client.errors import ImageError
from tfs_client.images.headers import MAX_BLOCKS, read_header

from .picture_files import (
    HEIGHT,
    NOISE,
    PNG_MAGIC,
    UNUSUAL_JPEGS,
    WIDTH,
    bmp,
    chunk,
    encoded,
    exif,
    gif,
    jpeg_with_frame,
    pictures,
    png,
    refusal,
)


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


@pytest.mark.parametrize("place", [(0, 0, 5, 4), (1, 0, WIDTH, HEIGHT), (0, 60_000, WIDTH, HEIGHT)])
def test_a_gif_whose_first_frame_is_not_its_canvas_is_refused(place):
    file = bytearray(gif((WIDTH, HEIGHT), (5, 4)))
    frame = file.index(b",", 13)
    file[frame + 1 : frame + 9] = struct.pack("<4H", *place)
    assert "a GIF whose first frame is not its whole canvas" in refusal(bytes(file))


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
