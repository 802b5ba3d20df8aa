"""The one road from a file to pixels, held against Pillow and against broken files."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from training.data import dataset, preprocessing

LIMIT = 50_000_000


@pytest.fixture(scope="module")
def decode() -> Callable[[bytes], np.ndarray]:
    function = tf.function(
        lambda file: preprocessing.decode(file, LIMIT),
        input_signature=[tf.TensorSpec([], tf.string)],
    )
    return lambda file: function(tf.constant(file)).numpy()


@pytest.fixture(scope="module")
def decode_rows() -> Callable[[list[bytes]], tuple[np.ndarray, np.ndarray]]:
    function = tf.function(
        lambda rows: preprocessing.decode_rows(rows, 32, 48, LIMIT),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    return lambda rows: tuple(
        part.numpy() for part in function(tf.constant(rows, tf.string, shape=[len(rows)]))
    )


def _pillow(file: bytes) -> PIL.Image.Image:
    image = PIL.Image.open(io.BytesIO(file))
    if image.mode.startswith("I"):  # 16 bits: the upper 8
        return PIL.Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


VARIANTS = [
    ("RGB", "PNG", {}),
    ("L", "PNG", {}),
    ("P", "PNG", {}),
    ("RGBA", "PNG", {}),
    ("LA", "PNG", {}),
    ("1", "PNG", {}),
    ("I;16", "PNG", {}),
    ("RGB", "JPEG", {"quality": 90}),
    ("RGB", "JPEG", {"quality": 75, "subsampling": 2, "progressive": True}),
    ("L", "JPEG", {}),
    ("CMYK", "JPEG", {}),
    ("RGB", "BMP", {}),
    ("L", "BMP", {}),
    ("P", "GIF", {}),
]


@pytest.mark.parametrize(("mode", "file_format", "options"), VARIANTS)
def test_every_kind_of_file_is_decoded_as_pillow_decodes_it(
    mode: str,
    file_format: str,
    options: dict,
    picture: PIL.Image.Image,
    encoded: Callable,
    decode: Callable,
) -> None:
    if mode == "I;16":
        deep = np.asarray(picture.convert("L")).astype(np.uint16) * 251
        file = encoded(PIL.Image.fromarray(deep), file_format)
    else:
        file = encoded(picture.convert(mode), file_format, **options)
    pixels = decode(file)
    expected = np.asarray(_pillow(file))
    assert pixels.shape[2] in (1, 3)
    np.testing.assert_array_equal(np.broadcast_to(pixels, expected.shape), expected)


def test_an_animation_is_its_first_frame(
    picture: PIL.Image.Image, encoded: Callable, decode: Callable
) -> None:
    frames = [picture.rotate(angle).convert("P") for angle in (0, 90, 180)]
    file = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode(file), np.asarray(_pillow(file)))


def test_exif_orientation_is_ignored(
    picture: PIL.Image.Image, encoded: Callable, decode: Callable
) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # "turn me right"
    turned = encoded(picture, "JPEG", exif=exif.tobytes())
    np.testing.assert_array_equal(decode(turned), decode(encoded(picture, "JPEG")))


SIZES = [(1, 1), (1, 500), (500, 1), (2, 3), (7, 10), (31, 49), (32, 48), (64, 64), (200, 37)]
SIZES += [(33, 500), (300, 300), (299, 301), (700, 1000)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_resizing_is_within_one_grey_level_of_pillow(size: tuple[int, int], channels: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*size, channels), np.uint8)
    picture = PIL.Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    expected = picture.resize((48, 32), PIL.Image.Resampling.BILINEAR).convert("RGB")
    resized = preprocessing.resize(tf.constant(pixels), 32, 48).numpy()
    assert resized.dtype == np.uint8
    difference = np.abs(resized.astype(int) - np.asarray(expected).astype(int))
    assert difference.max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_resizing_equals_two_passes_of_tensorflows_own_bit_by_bit(
    size: tuple[int, int], channels: int
) -> None:
    # what exported versions did that stand somewhere, and what their runs were trained on
    pixels = np.random.default_rng(2).integers(0, 256, (*size, channels), np.uint8)
    across = tf.round(tf.image.resize(pixels, [size[0], 48], antialias=True))
    down = tf.round(tf.image.resize(across, [32, 48], antialias=True))
    expected = np.broadcast_to(tf.cast(down, tf.uint8), (32, 48, 3))
    resized = preprocessing.resize(tf.constant(pixels), 32, 48).numpy()
    np.testing.assert_array_equal(resized, expected)


def test_grey_with_alpha_and_colour_with_alpha_are_resized_without_it(
    picture: PIL.Image.Image, encoded: Callable
) -> None:
    for mode, opaque in (("LA", "L"), ("RGBA", "RGB")):
        file, plain = (encoded(picture.convert(kind), "PNG") for kind in (mode, opaque))
        resized = preprocessing.decode_and_resize(tf.constant(file), 32, 48, LIMIT).numpy()
        expected = preprocessing.decode_and_resize(tf.constant(plain), 32, 48, LIMIT).numpy()
        np.testing.assert_array_equal(resized, expected)


def test_the_sample_pictures_are_resized_as_pillow_resizes_them() -> None:
    found = dataset.find(None, max_images=40)
    differing = 0.0
    for item in found.items:
        file = found.file(item).read_bytes()
        ours = preprocessing.decode_and_resize(tf.constant(file), 64, 64, LIMIT).numpy()
        theirs = np.asarray(_pillow(file).resize((64, 64), PIL.Image.Resampling.BILINEAR))
        difference = np.abs(ours.astype(int) - theirs.astype(int))
        assert difference.max() <= 1
        differing += (difference > 0).mean()
    # one pass instead of two differs in 9 % of the values
    assert differing / len(found.items) < 0.005


def _png_that_claims(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + b"\x08\0\0\0\0"


REFUSED = {
    "empty": (b"", "the file is empty"),
    "text": (b"hello, I am text", "not a JPEG, PNG, GIF, BMP file"),
    "only a magic number": (b"\xff\xd8\xff", "Invalid JPEG"),
    "cut in the header": (b"\x89PNG\r\n\x1a\n\0\0", "the header is cut off"),
    "cut GIF": (b"GIF89a", "the header is cut off"),
    "cut BMP": (b"BM", "the header is cut off"),
    "claims 30,000x30,000": (_png_that_claims(30_000, 30_000), r"too large.*30000 x 30000"),
    "claims no pixels": (_png_that_claims(0, 5), "too large or without pixels"),
    "claims a negative size": (_png_that_claims(2**32 - 1, 5), "too large or without pixels"),
    "header without pixels": (_png_that_claims(5, 5), "Invalid PNG"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_picture_is_refused_with_the_reason(name: str, decode: Callable) -> None:
    file, reason = REFUSED[name]
    with pytest.raises(tf.errors.InvalidArgumentError, match=reason):
        decode(file)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_truncated_file_is_refused(
    file_format: str, share: float, picture: PIL.Image.Image, encoded: Callable, decode: Callable
) -> None:
    file = encoded(picture, file_format)
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(file[: int(len(file) * share)])


def test_a_real_picture_of_30000_by_30000_is_refused_before_it_is_decoded(
    huge_png: bytes, decode: Callable
) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="too large"):
        decode(huge_png)


def test_a_bmp_with_a_colour_palette_is_refused_instead_of_misread(
    picture: PIL.Image.Image, encoded: Callable, decode: Callable
) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="colour palette; save it as PNG"):
        decode(encoded(picture.convert("P"), "BMP"))


@pytest.mark.parametrize("file_format", ["WEBP", "TIFF"])
def test_other_formats_are_refused_by_name(
    file_format: str, picture: PIL.Image.Image, encoded: Callable, decode: Callable
) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a JPEG, PNG, GIF, BMP file"):
        decode(encoded(picture, file_format))


def test_broken_rows_leave_their_neighbours_as_they_were(
    picture: PIL.Image.Image, encoded: Callable, decode_rows: Callable
) -> None:
    good = [encoded(picture.rotate(angle), "PNG") for angle in range(0, 90, 10)]
    alone, all_valid = decode_rows(good)
    assert all_valid.all()
    broken = [file for file, _ in REFUSED.values()][: len(good)]
    images, valid = decode_rows([file for pair in zip(broken, good) for file in pair])
    assert valid.tolist() == [False, True] * len(good)
    np.testing.assert_array_equal(images[1::2], alone)
    assert not images[::2].any()


def test_rows_of_every_format_and_size_keep_their_places(
    picture: PIL.Image.Image, encoded: Callable, decode_rows: Callable
) -> None:
    files = [
        encoded(picture.resize((20 + 17 * index, 90 - 7 * index)).convert(mode), file_format)
        for index, (mode, file_format) in enumerate(
            [("L", "PNG"), ("RGB", "JPEG"), ("P", "GIF"), ("RGBA", "PNG"), ("RGB", "BMP")]
            + [("CMYK", "JPEG"), ("L", "BMP"), ("L", "JPEG"), ("1", "PNG")]
        )
    ]
    files = files * 4  # more rows than are decoded at once
    expected = [
        preprocessing.decode_and_resize(tf.constant(file), 32, 48, LIMIT).numpy() for file in files
    ]
    for place in (3, 17):
        files.insert(place, b"broken")
        expected.insert(place, np.zeros((32, 48, 3), np.uint8))
    images, valid = decode_rows(files)
    assert [index for index, whole in enumerate(valid) if not whole] == [3, 17]
    np.testing.assert_array_equal(images, np.stack(expected))


def test_one_row_gives_what_it_gives_among_others(
    picture: PIL.Image.Image, encoded: Callable, decode_rows: Callable
) -> None:
    file = encoded(picture, "JPEG")
    alone, valid = decode_rows([file])
    among, _ = decode_rows([b"", file])
    assert valid.tolist() == [True]
    np.testing.assert_array_equal(alone[0], among[1])


@pytest.mark.parametrize("rows", [[], [b""], [b"", b"", b""]])
def test_batches_without_a_good_row_are_answered(rows: list[bytes], decode_rows: Callable) -> None:
    images, valid = decode_rows(rows)
    assert images.shape == (len(rows), 32, 48, 3)
    assert valid.tolist() == [False] * len(rows)


def test_scaling_maps_white_to_one() -> None:
    scaled = preprocessing.scale(tf.constant([0, 51, 255], tf.uint8)).numpy()
    np.testing.assert_allclose(scaled, [0, 0.2, 1], rtol=1e-6)
    assert scaled.dtype == np.float32


def test_pictures_are_decoded_in_parallel_although_training_is_deterministic() -> None:
    """tf.data takes a function with other stateful operations one element after the other.

    It looks into functions that are called, whose own operations are listed here too.
    """

    def decoded(file: tf.Tensor) -> tf.Tensor:
        return preprocessing.decode_and_resize(file, 8, 8, 10**6)

    function = tf.function(decoded).get_concrete_function(tf.TensorSpec([], tf.string))
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for one in graph.library.function for node in one.node_def)]
    stateful = {one.op for one in nodes if op_def_registry.get(one.op).is_stateful}
    assert stateful == {"Assert", "StatefulPartitionedCall"}
