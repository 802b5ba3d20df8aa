"""GIF: the file ends behind its first frame, because giflib decodes all of them.

Source: the GIF89a specification 12 to 22.
"""

from __future__ import annotations

import tensorflow as tf

from training.data.formats.look import (
    TOO_MANY_PARTS,
    Files,
    Look,
    nothing,
    number,
    text_where,
    walk,
)

MAGIC = b"GIF8"

_END = b";"
_EXTENSION, _FRAME = 0x21, 0x2C
_FRAME_BYTES = 10
"""Mark, place, size and flags of a frame."""


def look(files: Files, own: tf.Tensor) -> Look:
    """Walks over the extensions to the first frame, and to the end of its pixels.

    Height and width are those of what holds both the canvas and the frame.

    Args:
        files: of a batch.
        own: bool [N], those that begin as a GIF.
    """
    size = files.size

    def byte(position: tf.Tensor) -> tf.Tensor:
        return tf.cast(files.numbers(position, tf.uint8, 1)[:, 0], tf.int32)

    def before_frame(_position, at, inside):
        return own & (inside | tf.equal(at, _EXTENSION))

    def to_next(position, at, inside):
        # In an extension so many bytes follow, and then the next part of it; 0 ends it. Outside of
        # one, the byte behind its mark says what it is for.
        following = position + tf.where(inside, 1 + at, 2)
        return following, byte(following), ~inside | (at > 0)

    start = tf.where(own, 13 + _palette_bytes(files.head[:, 10]), size)
    (frame, at, _), too_many = walk(
        before_frame, to_next, (start, byte(start), tf.zeros_like(own)), size
    )
    found = own & tf.equal(at, _FRAME)
    facts = tf.cast(files.numbers(frame, tf.uint8, _FRAME_BYTES), tf.int64)
    pixels = tf.where(found, frame + 11 + _palette_bytes(facts[:, 9]), size)
    (last, _), too_many_of_pixels = walk(
        lambda _position, at: at > 0,
        lambda position, at: (position + 1 + at, byte(position + 1 + at)),
        (pixels, byte(pixels)),
        size,
    )
    width, height = (
        tf.where(
            own,
            tf.maximum(
                number(files.head[:, at : at + 2], little_endian=True),
                number(facts[:, at - 1 : at + 1], little_endian=True),
            ),
            0,
        )
        for at in (6, 8)
    )
    problem = tf.where(
        size < 14,
        "the header is cut off",
        tf.where(
            too_many | too_many_of_pixels,
            TOO_MANY_PARTS,
            text_where(~found, "a GIF without a frame"),
        ),
    )
    return nothing(size)._replace(
        beginning=tf.where(own, last + 1, 0),
        tail=text_where(own, _END),
        height=height,
        width=width,
        problem=tf.where(own, problem, ""),
    )


def _palette_bytes(flags: tf.Tensor) -> tf.Tensor:
    """int64 [N] -> int32 [N]: a palette of 2 to 256 colours, or none."""
    flags = tf.cast(flags, tf.int32)
    return tf.where(flags >= 0x80, tf.bitwise.left_shift(6, flags % 8), 0)
