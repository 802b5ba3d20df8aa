"""The client's reader of headers beside the served graph: it refuses nothing that decodes."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from serving.client.tests.images.picture_files import (
    HEIGHT,
    UNUSUAL_JPEGS,
    WIDTH,
    pictures,
    refusal,
)
from tfs_client.images.headers import check_header, read_header
from training.data import dataset, preprocessing

LIMIT = 200_000


@functools.cache
def _graph(max_pixels: int) -> Callable[[tf.Tensor], tf.Tensor]:
    return tf.function(
        lambda file: preprocessing.decode(file, max_pixels),
        input_signature=[tf.TensorSpec([], tf.string)],
    )


def accepted(file: bytes, *, max_pixels: int = LIMIT) -> bool:
    """Whether the graph decodes the file."""
    try:
        return _graph(max_pixels)(tf.constant(file)).shape[0] > 0
    except tf.errors.InvalidArgumentError:
        return False


def _pillow_opens(file: bytes) -> bool:
    try:
        with PIL.Image.open(io.BytesIO(file)) as image:
            image.load()
    except (OSError, ValueError, SyntaxError):
        return False
    return True


@pytest.mark.parametrize("name", pictures())
def test_the_client_refuses_a_whole_file_where_the_graph_does(name: str) -> None:
    file = pictures()[name].file
    assert (refusal(file) is None) == accepted(file)


def test_the_client_refuses_the_jpegs_that_the_graph_refuses() -> None:
    for file, words in UNUSUAL_JPEGS:
        assert words in str(refusal(file))
        assert not accepted(file)


def test_the_limit_of_pixels_is_the_same_limit() -> None:
    for name in ("JPEG", "PNG", "GIF", "BMP"):
        file = pictures()[name].file
        for max_pixels in (WIDTH * HEIGHT - 1, WIDTH * HEIGHT):
            passes = refusal(file, max_pixels=max_pixels) is None
            assert passes == accepted(file, max_pixels=max_pixels) == (max_pixels == WIDTH * HEIGHT)


def test_the_sample_photographs_pass_with_the_size_that_they_have() -> None:
    found = dataset.find(None, max_images=50)
    for item in found.items:
        file = found.file(item).read_bytes()
        header = read_header(file)
        check_header(header, max_pixels=LIMIT, name=item.path)
        with PIL.Image.open(io.BytesIO(file)) as image:
            assert (header.format, header.width, header.height) == (image.format, *image.size)
            assert header.channels == len(image.getbands())
        assert accepted(file)


DAMAGED = ("JPEG", "JPEG, CMYK", "JPEG, progressive", "JPEG, <6", "PNG", "PNG, palette with alpha")
DAMAGED += ("PNG, Exif", "GIF", "GIF, comment", "BMP", "BMP, grey", "BMP, header of 124")


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_that_the_graph_still_decodes_passes_unless_pillow_refuses_it_too(
    name: str,
) -> None:
    file = pictures()[name].file
    random = np.random.default_rng(len(file))
    places = [*range(min(len(file), 200)), *random.integers(0, len(file), 100)]
    passed = 0
    for place in places:
        for value in (file[place] ^ 1, file[place] ^ 0x80, random.integers(256)):
            damaged = file[:place] + bytes([value]) + file[place + 1 :]
            words = refusal(damaged, max_pixels=LIMIT)
            if words is None:
                passed += 1
            elif accepted(damaged):
                assert not _pillow_opens(damaged), f"byte {place} = {value}: {words}"
    assert passed
