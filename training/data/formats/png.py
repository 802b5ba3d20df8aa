"""PNG: header, palette and pixels are kept; comments, profiles and all behind the pixels are not.

A chunk says how long it is, and libpng makes room for that before it reads on. So the file ends
before a chunk that claims more than there is, unless it holds pixels, which are read piece by
piece. Transparency is left out with the rest: the graph drops it.

Source: the PNG specification (third edition) 5 and 11.
"""

from __future__ import annotations

import tensorflow as tf

from training.data.formats.look import (
    TOO_MANY_PARTS,
    Files,
    Look,
    number,
    text_where,
    walk,
)

MAGIC = b"\x89PNG\r\n"

_FIRST = b"\0\0\0\rIHDR"
_HEADER_BYTES = 33
"""The signature and the chunk IHDR."""

_END = b"\0\0\0\0IEND\xaeB`\x82"

_PLTE, _IDAT, _IEND = (int.from_bytes(kind, "big") for kind in (b"PLTE", b"IDAT", b"IEND"))


def look(files: Files, own: tf.Tensor) -> Look:
    """Walks over the chunks up to the end of the pixels.

    Args:
        files: of a batch.
        own: bool [N], those that begin as a PNG.
    """
    size = files.size
    named = tf.reduce_all(tf.equal(files.head[:, 8:16], list(_FIRST)), axis=1)
    zero = tf.zeros_like(size)

    def under_way(position, _palette, _begin, _end):
        return position < size - 7

    def step(position, palette, begin, end):
        length, kind = tf.unstack(files.numbers(position, tf.int32, 2), axis=1)
        # A length of 2^31 or more reads as a negative number.
        fits = tf.logical_and(length >= 0, length <= size - 12 - position)
        behind = tf.where(fits, position + 12 + length, size)
        is_pixels = tf.equal(kind, _IDAT)
        is_palette = tf.logical_and(tf.equal(kind, _PLTE), fits)
        before = tf.equal(begin, 0)
        goes_on = fits & tf.not_equal(kind, _IEND) & (is_pixels | before)
        return (
            tf.where(goes_on, behind, size),
            tf.where(is_palette & before, position, palette),
            tf.where(is_pixels & before, position, begin),
            tf.where(is_pixels, behind, end),
        )

    start = tf.where(own & named, _HEADER_BYTES, size)
    (_, palette, begin, end), too_many = walk(under_way, step, (start, zero, zero, zero), size)
    palette_bytes = 12 + files.numbers(palette, tf.int32, 1)[:, 0]
    width, height = (
        tf.where(own, number(files.head[:, at : at + 4], little_endian=False), 0) for at in (16, 20)
    )
    cut_off = size < 24
    problem = tf.where(
        cut_off,
        "the header is cut off",
        tf.where(too_many, TOO_MANY_PARTS, text_where(~named, "a PNG without its header")),
    )
    return Look(
        beginning=tf.where(own, _HEADER_BYTES, 0),
        parts=(
            (palette, tf.where(palette > 0, palette_bytes, 0)),
            (begin, end - begin),
        ),
        tail=text_where(own, _END),
        height=height,
        width=width,
        problem=tf.where(own, problem, ""),
    )
