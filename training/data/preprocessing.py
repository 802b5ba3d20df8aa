"""From an image file to the model's input, as TensorFlow operations.

The training pipeline and the exported graph both call it, so a picture means the same number in
both. It also equals what Pillow does in a client that resizes for itself: Pillow rounds to whole
grey levels after each of its two one-dimensional passes, and so do we. Measured against Pillow on
200 sample pictures (300 to 64 pixels): largest difference one grey level, in 0.06 % of the values;
with a single pass it was 8.8 % of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from training.data.formats import bmp, gif, jpeg, png
from training.data.formats.examine import (
    FORMATS,
    Examined,
    examine,
    pixels,
    problem_text,
    size_fits,
    size_text,
)
from training.data.formats.look import Problem, apart

ROWS_AT_ONCE = 16
"""Rows of a batch that are decoded in parallel; idle places cost nothing on a smaller machine."""

PIXELS_AT_ONCE = 100_000_000
"""Fewer rows are decoded in parallel where they would be more pixels together (but one always is),
so that a request's memory does not grow with the machine's cores."""

NARROW_BYTES = 48 * 2**20
"""What resizing may take beyond twice the picture's own memory."""


def _traced_once(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """One graph for each set of sizes, however many pipelines read with it.

    Making the graph takes half a second, and every `tf.data` map would make its own.
    """
    return tf.function(function, autograph=False)


@_traced_once
def decode(image_bytes: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Decodes one JPEG, PNG, GIF (first frame) or BMP file.

    Size and format are read from the header first, and what the pixels do not need is left out (see
    formats/), so that nobody can make the process allocate gigabytes with a small file. Alpha is
    dropped, palettes are expanded, 16 bits become the upper 8, CMYK becomes RGB; EXIF orientation
    is ignored. JPEG uses the accurate inverse DCT, which equals Pillow's bit by bit (TensorFlow's
    default does not).

    Args:
        image_bytes: string [], the whole file.
        max_pixels: largest height times width.

    Returns:
        uint8 [h, w, 1] for grey pictures, else [h, w, 3] RGB.

    Raises:
        tf.errors.InvalidArgumentError: empty, of another format, too large, or broken.
    """
    examined = examine(image_bytes[tf.newaxis], max_pixels)
    problem = problem_text(examined, max_pixels)[0]
    with tf.control_dependencies([_require(tf.equal(problem, ""), problem)]):
        content, kind = tf.identity(examined.content[0]), examined.kind[0]
    height, width = tf.cond(
        tf.equal(kind, FORMATS.index(jpeg)),
        lambda: _jpeg_size(content),
        lambda: (examined.height[0], examined.width[0]),
    )
    fits = _require(size_fits(height, width, max_pixels), size_text(height, width, max_pixels))
    with tf.control_dependencies([fits]):
        return _decoded(tf.identity(content), kind, max_pixels)


def _decoded(content: tf.Tensor, kind: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """What was examined and has no problem -> uint8 [h, w, 1 | 3].

    No branch asserts: what asserts is stateful, and where operations are to be deterministic, as in
    training, tf.data maps a stateful choice one picture after the other.
    """
    decoders = {
        jpeg: functools.partial(_decode_jpeg, content, max_pixels),
        png: lambda: _without_alpha(tf.io.decode_png(content, channels=0)),
        gif: lambda: tf.io.decode_gif(content)[0],
        bmp: lambda: _without_alpha(tf.io.decode_bmp(content, channels=0)),
    }
    image = tf.switch_case(kind, [decoders[one] for one in FORMATS])
    image.set_shape([None, None, None])
    return image


def _decode_jpeg(content: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Fails for a picture that is too large: an empty one is decoded in its place."""
    fits = size_fits(*_jpeg_size(content), max_pixels)
    return tf.io.decode_jpeg(
        tf.where(fits, content, ""),
        channels=0,
        dct_method="INTEGER_ACCURATE",
        fancy_upscaling=True,
    )


def _jpeg_size(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """string [] -> int32 [] each, height and width."""
    height, width, _ = tf.unstack(tf.io.extract_jpeg_shape(content), num=3)
    return height, width


def _without_alpha(image: tf.Tensor) -> tf.Tensor:
    """[h, w, 1 | 2 | 3 | 4] -> [h, w, 1 | 3]: grey+alpha and RGB+alpha lose the alpha."""
    channels = tf.shape(image)[2]
    return image[:, :, : channels - tf.cast(tf.equal(channels % 2, 0), tf.int32)]


def _require(condition: tf.Tensor, *said: tf.Tensor | str) -> tf.Operation:
    """tf.debugging.Assert without the branch that it puts around the operation."""
    return tf.raw_ops.Assert(condition=condition, data=list(said))


def resize(image: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Resizes as Pillow's bilinear filter does: antialiased, across and then down, each rounded.

    TensorFlow adds up whole rows several times faster than it steps along them, so the picture is
    turned over for the pass across and back again for the pass down. The numbers are those of two
    `tf.image.resize(..., antialias=True)`, bit by bit, at a fifth of the time for 300 x 300 pixels
    in grey and under half of it for a photograph of 12 megapixels.

    Args:
        image: uint8 [h, w, 1] or [h, w, 3].
        height: of the result, in pixels.
        width: of the result, in pixels.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        tf.errors.InvalidArgumentError: so much narrower than high that the result of the pass
            across would be many times the picture.
    """
    with tf.control_dependencies([_check_narrow(image, width)]):
        h, w, channels = tf.unstack(tf.shape(image), num=3)
    columns = tf.transpose(tf.reshape(image, [h, w * channels]))
    across = _resize_rows(tf.reshape(columns, [w, channels * h]), w, width)
    rows = tf.transpose(tf.reshape(across, [width * channels, h]))
    down = _resize_rows(rows, h, height)
    resized = tf.reshape(down, [height, width, channels])
    # A grey picture stays one channel up to here: a third of the work, and the same numbers.
    return tf.broadcast_to(resized, [height, width, 3])


def _resize_rows(rows: tf.Tensor, count: tf.Tensor, new_count: int) -> tf.Tensor:
    """uint8 [count, N] -> uint8 [new_count, N]: the filter along the first axis, rounded."""
    # As a picture one pixel wide with N channels: what lies beside a row stays untouched.
    resized = tf.raw_ops.ScaleAndTranslate(
        images=rows[tf.newaxis, :, tf.newaxis],
        size=[new_count, 1],
        scale=tf.stack([new_count / tf.cast(count, tf.float32), 1.0]),
        translation=[0.0, 0.0],
        kernel_type="triangle",
        antialias=True,
    )
    return tf.cast(tf.round(resized[0, :, 0]), tf.uint8)


def _check_narrow(image: tf.Tensor, width: int) -> tf.Operation:
    """Asserts that the pass across costs little beside the picture itself."""
    h, w, channels = tf.unstack(tf.shape(image, tf.int64), num=3)
    # Two arrays of float32 and one of uint8, each `width` wide in place of w.
    return _require(
        9 * h * width * channels <= 2 * h * w * channels + NARROW_BYTES,
        "too high for its width; cut it into pieces; w x h =",
        w,
        h,
    )


@_traced_once
def decode_and_resize(
    image_bytes: tf.Tensor, height: int, width: int, max_pixels: int
) -> tf.Tensor:
    """One image file to the pixels that the model is fed: uint8 [height, width, 3]."""
    return resize(decode(image_bytes, max_pixels), height, width)


def scale(images: tf.Tensor) -> tf.Tensor:
    """Scales pixels for the model: uint8 or float 0-255 -> float32 0-1, of the same shape."""
    return tf.cast(images, tf.float32) / 255.0


def decode_rows(
    rows: tf.Tensor, height: int, width: int, max_pixels: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes a batch so that a broken row harms no other row.

    A server may merge the requests of several callers into one batch, and an error would fail all
    of them. So each row passes through tf.data with errors ignored, and a row that fails leaves
    black pixels and False in `valid`.

    Args:
        rows: string [N], one image file a row; N may be 0.
        height: of the result, in pixels.
        width: of the result, in pixels.
        max_pixels: largest height times width of a file.

    Returns:
        images uint8 [N, height, width, 3] and valid bool [N].
    """
    examined = examine(rows, max_pixels)
    good = tf.equal(examined.problem, Problem.NONE)
    alone = tf.equal(tf.size(rows), 1)

    def decoded(content: tf.Tensor, kind: tf.Tensor) -> tf.Tensor:
        return resize(_decoded(content, kind, max_pixels), height, width)

    # One row alone needs no threads of its own.
    index, images = tf.cond(
        alone,
        lambda: map_rows(decoded, good, None, examined.content, examined.kind),
        lambda: map_rows(decoded, good, _rows_at_once(examined), examined.content, examined.kind),
    )
    count = tf.size(rows, tf.int64)
    images = tf.ensure_shape(images, [None, height, width, 3])
    images = tf.scatter_nd(index, images, tf.stack([count, height, width, 3]))
    valid = tf.scatter_nd(index, tf.ones_like(index[:, 0]), count[tf.newaxis]) > 0
    return tf.ensure_shape(images, [None, height, width, 3]), tf.ensure_shape(valid, [None])


@apart
def _rows_at_once(examined: Examined) -> tf.Tensor:
    """int64 [], how many rows may be decoded in parallel."""
    enough = tf.constant(PIXELS_AT_ONCE, tf.int64)
    known = pixels(examined)
    known = tf.where(tf.equal(known, 0), enough, known)
    known = tf.where(tf.equal(examined.problem, Problem.NONE), known, tf.ones_like(known))
    most = tf.reduce_max(tf.concat([[1], known], axis=0))
    return tf.clip_by_value(PIXELS_AT_ONCE // most, 1, ROWS_AT_ONCE)


def map_rows(
    function: Callable[..., tf.Tensor],
    where: tf.Tensor,
    at_once: tf.Tensor | int | None,
    *columns: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Calls a function for each row, and leaves out the rows for which it fails.

    Args:
        function: of a row of each column -> a tensor of a shape that is known.
        where: bool [N], the rows to call it for.
        at_once: in parallel; None needs no threads of its own.
        columns: [N, ...] each.

    Returns:
        int64 [M, 1], the rows for which it did not fail, in any order; [M, ...], what it gave.
    """
    count = tf.size(where, tf.int64)
    chosen = tf.where(where)[:, 0]

    def call(row: tf.Tensor, *values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return row, function(*values)

    # Not Dataset.enumerate: setting that up takes as long as decoding a picture.
    rows = tf.data.Dataset.from_tensor_slices(
        (chosen, *(tf.gather(column, chosen) for column in columns))
    ).map(call, at_once, deterministic=None if at_once is None else False)
    # The extra row keeps the collection from being empty where every row fails.
    result = rows.element_spec[1]
    extra = tf.data.Dataset.from_tensors((count, tf.zeros(result.shape, result.dtype)))
    whole = _untuned(rows.ignore_errors().concatenate(extra).batch(count + 1))
    index, values = whole.get_single_element()
    return index[:-1, tf.newaxis], values[:-1]


def _untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """A pipeline of milliseconds is over before tuning it could pay."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return dataset.with_options(options)
