"""Corruptions: the same each time, of the same size, and what their names say."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import PIL.Image
import pytest

from export.gate import (
    corruptions,
    evidence,
)
from tfs_client import RequestError

RANDOM_KINDS = ("gaussian_noise", "rotation", "occluding_patch")


@pytest.fixture
def file(picture: PIL.Image.Image, encoded: Callable[..., bytes]) -> bytes:
    return encoded(picture, "PNG")


def _pixels(file: bytes) -> np.ndarray:
    with PIL.Image.open(io.BytesIO(file)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"), float)


@pytest.mark.parametrize("kind", corruptions.KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_corruption_changes_the_picture_and_keeps_its_size_and_mode(
    kind: str, mode: str, picture: PIL.Image.Image, encoded: Callable[..., bytes]
) -> None:
    before = picture.convert(mode)
    after = PIL.Image.open(io.BytesIO(corruptions.corrupt(encoded(before, "PNG"), kind, seed=1)))
    assert (after.size, after.mode) == (before.size, mode)
    difference = np.abs(np.asarray(after, float) - np.asarray(before, float))
    assert 1 < difference.mean() < 80


@pytest.mark.parametrize("kind", corruptions.KINDS)
def test_the_seed_and_the_picture_fix_every_random_choice(
    kind: str, file: bytes, picture: PIL.Image.Image, encoded: Callable[..., bytes]
) -> None:
    first = corruptions.corrupt(file, kind, seed=1)
    corruptions.corrupt(encoded(picture.rotate(90), "PNG"), kind, seed=1)
    assert corruptions.corrupt(file, kind, seed=1) == first
    assert (corruptions.corrupt(file, kind, seed=2) != first) == (kind in RANDOM_KINDS)


def test_pictures_are_not_all_covered_at_the_same_place(encoded: Callable[..., bytes]) -> None:
    places = set()
    for level in range(100, 112):
        grey = encoded(PIL.Image.new("L", (40, 40), level), "PNG")
        covered = _pixels(corruptions.corrupt(grey, "occluding_patch", seed=1))[..., 0] != level
        assert covered.sum() == 10 * 10
        places.add(tuple(np.argwhere(covered)[0]))
    assert len(places) > 6


def test_the_names_say_what_is_done(file: bytes) -> None:
    before = _pixels(file)
    after = {kind: _pixels(corruptions.corrupt(file, kind, 1)) for kind in corruptions.KINDS}
    assert after["brightness_up"].mean() > 1.15 * before.mean()
    assert after["brightness_down"].mean() == pytest.approx(0.65 * before.mean(), rel=0.01)
    assert after["contrast_down"].mean() == pytest.approx(before.mean(), abs=0.5)
    assert after["contrast_down"].std() == pytest.approx(0.5 * before.std(), rel=0.01)
    noise = after["gaussian_noise"] - before
    inside = (before > 70) & (before < 185)  # where nothing is cut off
    assert noise[inside].std() == pytest.approx(corruptions.NOISE_DEVIATION, rel=0.05)

    def roughness(pixels: np.ndarray) -> float:
        return float(np.abs(np.diff(pixels, axis=0)).mean())

    assert roughness(after["gaussian_blur"]) < 0.9 * roughness(before)
    assert roughness(after["gaussian_noise"]) > 1.2 * roughness(before)


def test_a_turned_picture_turns_back(file: bytes, picture: PIL.Image.Image) -> None:
    turned = PIL.Image.open(io.BytesIO(corruptions.corrupt(file, "rotation", 1)))
    middle = np.s_[30:60, 40:80]
    before = np.asarray(picture, float)[middle]

    def distance(degrees: float) -> float:
        back = np.asarray(turned.rotate(degrees, PIL.Image.Resampling.BILINEAR), float)[middle]
        return float(np.abs(back - before).mean())

    best = min(np.arange(-12, 12.1, 0.5), key=distance)
    assert abs(best) >= corruptions.LEAST_TURN_DEGREES - 0.5
    assert abs(best) <= corruptions.MOST_TURN_DEGREES + 0.5
    assert distance(best) < 0.4 * distance(0)


@pytest.mark.parametrize("kind", corruptions.KINDS)
@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1), (3, 2)])
def test_the_smallest_pictures_can_be_corrupted(
    kind: str, size: tuple[int, int], encoded: Callable[..., bytes]
) -> None:
    file = encoded(PIL.Image.new("RGB", size, (200, 100, 50)), "PNG")
    after = PIL.Image.open(io.BytesIO(corruptions.corrupt(file, kind, seed=1)))
    assert after.size == size


@pytest.mark.parametrize("format_", ["JPEG", "GIF", "BMP"])
def test_every_format_that_the_model_reads_can_be_corrupted(
    format_: str, picture: PIL.Image.Image, encoded: Callable[..., bytes]
) -> None:
    file = encoded(picture, format_)
    assert _pixels(corruptions.corrupt(file, "contrast_down", seed=1)).shape == (90, 120, 3)


def test_sixteen_bits_become_the_upper_eight(encoded: Callable[..., bytes]) -> None:
    levels = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    file = encoded(PIL.Image.fromarray(levels), "PNG")
    assert corruptions.decoded(file).shape == (64, 64, 1)
    np.testing.assert_array_equal(corruptions.decoded(file)[..., 0], levels >> 8)


def test_a_file_that_only_tensorflow_reads_stays_as_it_is(
    picture: PIL.Image.Image, encoded: Callable[..., bytes], huge_png: bytes
) -> None:
    for file in (encoded(picture, "PNG", icc_profile=bytes(2_000_000)), huge_png):
        with pytest.raises(OSError, match="Pillow cannot read the file: "):
            corruptions.decoded(file)
        assert evidence._corrupted(file, "gaussian_blur", 1) is file


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises((RequestError, OSError)):
        corruptions.corrupt(content, "gaussian_blur", seed=1)
