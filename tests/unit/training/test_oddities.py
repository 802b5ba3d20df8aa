"""Pictures that can be used and may not mean what they mean elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import PIL.Image
import pytest

from training.data import oddities

GREY = np.zeros((90, 120, 1), np.uint8)
BLACK = np.zeros((90, 120, 3), np.uint8)


def _oriented(picture: PIL.Image.Image, orientation: int) -> PIL.Image.Exif:
    exif = picture.getexif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [2, 6, 8])
def test_an_orientation_is_told(
    picture: PIL.Image.Image, encoded: Callable, file_format: str, orientation: int
) -> None:
    exif = _oriented(picture, orientation)
    found = oddities.of(encoded(picture, file_format, exif=exif), BLACK)
    assert found == [(oddities.ORIENTED, f"orientation {orientation}")]


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "GIF"])
def test_a_plain_picture_is_not_odd(
    picture: PIL.Image.Image, encoded: Callable, file_format: str
) -> None:
    options = {"exif": _oriented(picture, 1)} if file_format in ("JPEG", "PNG") else {}
    assert oddities.of(encoded(picture, file_format, **options), BLACK) == []


@pytest.mark.parametrize(("bits", "levels"), [(10, 4), (12, 16), (14, 64)])
def test_few_bits_in_a_deep_png_are_told_with_the_levels_that_are_left(
    encoded: Callable, bits: int, levels: int
) -> None:
    deep = np.linspace(0, 2**bits - 1, 90 * 120).astype(np.uint16).reshape(90, 120)
    pixels = (deep >> 8).astype(np.uint8)[..., np.newaxis]
    found = oddities.of(encoded(PIL.Image.fromarray(deep), "PNG"), pixels)
    assert found == [(oddities.SHALLOW, f"{levels} levels are left")]


def test_a_deep_png_that_uses_its_range_and_a_dark_plain_one_are_not_odd(encoded: Callable) -> None:
    deep = np.linspace(0, 2**16 - 1, 90 * 120).astype(np.uint16).reshape(90, 120)
    pixels = (deep >> 8).astype(np.uint8)[..., np.newaxis]
    assert oddities.of(encoded(PIL.Image.fromarray(deep), "PNG"), pixels) == []
    assert oddities.of(encoded(PIL.Image.fromarray(GREY[..., 0]), "PNG"), GREY) == []


def test_transparent_pixels_of_a_gif_are_told_where_there_are_some(encoded: Callable) -> None:
    half = PIL.Image.fromarray(np.repeat(np.array([[0, 1]], np.uint8), 60, axis=1)).convert("P")
    half = half.resize((120, 90), PIL.Image.Resampling.NEAREST)
    shown = encoded(half, "GIF", transparency=int(np.asarray(half)[0, 0]))
    assert oddities.of(shown, BLACK) == [(oddities.TRANSPARENT, "50.0% of its pixels")]
    assert oddities.of(encoded(half, "GIF", transparency=200), BLACK) == []


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_of_a_png_are_told_and_an_opaque_channel_is_not(
    picture: PIL.Image.Image, encoded: Callable, mode: str
) -> None:
    alpha = np.full((90, 120), 255, np.uint8)
    opaque = picture.convert("RGBA")
    alpha[:9] = 0
    clear = picture.convert("RGBA")
    clear.putalpha(PIL.Image.fromarray(alpha))
    if mode == "P":
        opaque, clear = (
            image.quantize(method=PIL.Image.Quantize.FASTOCTREE) for image in (opaque, clear)
        )
    else:
        opaque, clear = opaque.convert(mode), clear.convert(mode)
    assert oddities.of(encoded(opaque, "PNG"), BLACK) == []
    ((kind, detail),) = oddities.of(encoded(clear, "PNG"), BLACK)
    assert kind == oddities.TRANSPARENT
    assert detail == "10.0% of its pixels"


def _gif(canvas: tuple[int, int], *frames: tuple[int, int, int, int]) -> bytes:
    """The head of a GIF; frames are left, top, width, height, and their pixels are cut short."""
    numbers = [b"".join(n.to_bytes(2, "little") for n in place) for place in (canvas, *frames)]
    body = b"".join(b"," + place + b"\0\x02\x02\x4c\x01\0" for place in numbers[1:])
    return b"GIF89a" + numbers[0] + b"\x80\0\0" + b"\0\0\0\xff\xff\xff" + body + b";"


@pytest.mark.parametrize(
    ("canvas", "frames", "decoded"),
    [
        ((20, 10), [(5, 5, 8, 4)], (20, 10)),
        ((10, 10), [(0, 0, 20, 10)], (20, 10)),
        ((10, 10), [(0, 0, 10, 10), (0, 0, 30, 20)], (30, 20)),
    ],
)
def test_a_gif_whose_frame_is_not_its_canvas_is_told(
    canvas: tuple[int, int], frames: list, decoded: tuple[int, int]
) -> None:
    pixels = np.zeros((decoded[1], decoded[0], 3), np.uint8)
    (found,) = oddities.of(_gif(canvas, *frames), pixels)
    assert found[0] == oddities.CANVAS
    width, height = frames[0][2:]
    assert found[1] == (
        f"canvas {canvas[0]}x{canvas[1]}, first frame {width}x{height}, "
        f"decoded {decoded[0]}x{decoded[1]}"
    )


def test_a_gif_that_fills_its_canvas_is_not_odd() -> None:
    pixels = np.zeros((10, 20, 3), np.uint8)
    assert oddities.of(_gif((20, 10), (0, 0, 20, 10), (2, 2, 4, 4)), pixels) == []


def test_what_pillow_cannot_read_is_not_odd(encoded: Callable, picture: PIL.Image.Image) -> None:
    jpeg = encoded(picture, "JPEG", exif=_oriented(picture, 6))
    place = jpeg.index(b"Exif\0\0") + 6
    for broken in (jpeg[:place] + b"rubbish" + jpeg[place + 7 :], jpeg[:40], b"GIF89a", b""):
        assert oddities.of(broken, BLACK) == []
