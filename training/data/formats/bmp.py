"""BMP: TensorFlow reads neither compression nor palettes, and answers nonsense without an error.

Source: Microsoft's "Bitmap Storage".
"""

from __future__ import annotations

import tensorflow as tf

from training.data.formats.look import Files, Look, Problem, first_of, nothing, number

MAGIC = b"BM"
END = b""

_GREY_PALETTES = [
    b"".join(bytes((level, level, level, spare(level))) for level in range(256))
    for spare in (lambda level: 0, lambda level: level)
]
"""Of a BMP of 8 bits that is grey: blue, green, red and a spare byte for each level. The spare one
is 0; Pillow before 11.3 repeats the level in it."""

_PALETTE_AT, _PALETTE_BYTES = 54, len(_GREY_PALETTES[0])


def look(files: Files, own: tf.Tensor) -> Look:
    """Reads the header.

    Args:
        files: of a batch.
        own: bool [N], those that begin as a BMP.
    """
    size = files.size
    width, height = (number(files.head[:, at : at + 4], little_endian=True) for at in (18, 22))
    bits = number(files.head[:, 28:30], little_endian=True)
    compression = number(files.head[:, 30:34], little_endian=True)
    palette = tf.strings.substr(
        files.content,
        tf.where(own, tf.minimum(size, _PALETTE_AT), 0),
        tf.where(own, _PALETTE_BYTES, 0),
    )
    grey = tf.logical_or(*(tf.equal(palette, known) for known in _GREY_PALETTES))
    plain = tf.equal(compression, 0) & (tf.not_equal(bits, 8) | grey)
    of_others = nothing(files)._replace(
        beginning=size,
        # negative where the rows run from the top down
        height=tf.abs(height),
        width=width,
        problem=first_of((size < 34, Problem.CUT_OFF), (~plain, Problem.STRANGE_BMP)),
    )
    mask = tf.cast(own, tf.int32)
    return Look(*(value * mask for value in of_others))
