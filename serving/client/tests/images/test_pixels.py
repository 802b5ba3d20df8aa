"""Pictures to pixels: the decoding of the model's graph, done with Pillow."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tfs_client import ImageError, image_to_array


def test_decoding_is_pillows_bilinear_in_height_times_width(picture, as_file):
    expected = np.asarray(picture.resize((40, 20), Image.Resampling.BILINEAR))
    array = image_to_array(as_file(), (20, 40))
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, expected)


def test_sixteen_bits_become_the_high_byte(as_file):
    levels = np.array([[0, 255, 256], [0x1234, 0xFFFF, 0x8000]], np.uint16)
    array = image_to_array(as_file(Image.fromarray(levels)), (2, 3))
    np.testing.assert_array_equal(array[..., 0], levels >> 8)
    np.testing.assert_array_equal(array[..., 0], array[..., 2])
    same = image_to_array(Image.fromarray(levels.astype(np.int32)), (2, 3))
    np.testing.assert_array_equal(same, array)


def test_exif_orientation_is_ignored_as_the_graph_ignores_it(picture, as_file):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = image_to_array(as_file(picture, "JPEG", exif=exif), (60, 80))
    np.testing.assert_array_equal(turned, image_to_array(as_file(picture, "JPEG"), (60, 80)))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_every_png_mode_becomes_rgb(picture, as_file, mode):
    converted = picture.convert(mode)
    array = image_to_array(as_file(converted), (60, 80))
    np.testing.assert_array_equal(array, np.asarray(converted.convert("RGB")))


def test_the_first_frame_of_a_gif_is_taken(picture, as_file):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    content = as_file(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert image_to_array(content, (1, 1)).tolist() == [[[255, 0, 0]]]


def test_broken_and_foreign_files_are_refused(picture, as_file):
    whole = as_file()
    for content in (b"no image", whole[: len(whole) // 2], as_file(picture, "TIFF")):
        with pytest.raises(ImageError, match="Expected a whole JPEG, PNG, GIF, BMP file"):
            image_to_array(content, (8, 8))


def test_a_small_file_with_a_huge_picture_is_refused_before_it_is_decoded(as_file):
    bomb = bytearray(as_file(Image.new("1", (8, 8))))
    bomb[16:24] = struct.pack(">II", 30_000, 30_000)  # width and height of the header …
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))  # … and its checksum
    with pytest.raises(ImageError, match="900000000 pixels"):
        image_to_array(bytes(bomb), (8, 8))
    with pytest.raises(ImageError, match="8000x8000"):
        image_to_array(as_file(Image.new("1", (8000, 8000))), (8, 8))
