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


def test_what_pillow_cannot_read_is_not_odd(encoded: Callable, picture: PIL.Image.Image) -> None:
    jpeg = encoded(picture, "JPEG", exif=_oriented(picture, 6))
    place = jpeg.index(b"Exif\0\0") + 6
    for broken in (jpeg[:place] + b"rubbish" + jpeg[place + 7 :], jpeg[:40], b"GIF89a", b""):
        assert oddities.of(broken, BLACK) == []
