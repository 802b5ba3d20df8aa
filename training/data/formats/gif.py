"""GIF: what is kept is the palette and the first frame, because giflib decodes all of them.

Extensions before the frame are left out. One of them may call a colour transparent, which
TensorFlow would turn black; Pillow shows it as it stands in the palette, and so does the graph.
TensorFlow does not place a frame on its canvas, as Pillow does, so one that does not fill it is
refused.

Source: the GIF89a specification 12 to 22.
"""

from __future__ import annotations

import tensorflow as tf

from training.data.formats.look import Files, Look, Problem, first_of, nothing, number, walk

MAGIC = b"GIF8"
END = b";"
_EXTENSION, _FRAME = 0x21, 0x2C
_WHOLE_BLOCK = 256
"""Bytes of a full block of pixels, with its length."""

_BLOCKS_AT_ONCE = 16

_FRAME_BYTES = 10
"""Mark, place, size and flags of a frame."""


def look(files: Files, own: tf.Tensor) -> Look:
    """Walks over the extensions to the first frame, and to the end of its pixels.

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
    facts = tf.cast(files.numbers(frame, tf.uint8, _FRAME_BYTES), tf.int32)
    pixels = tf.where(found, frame + 11 + _palette_bytes(facts[:, 9]), size)

    def behind_block(position, at):
        # Encoders fill all blocks but the last one: whole ones are passed over many at a time.
        ahead = files.numbers(position, tf.uint8, _BLOCKS_AT_ONCE * _WHOLE_BLOCK)
        lengths = tf.reshape(ahead, [-1, _BLOCKS_AT_ONCE, _WHOLE_BLOCK])[:, :, 0]
        is_whole = tf.cast(tf.equal(lengths, _WHOLE_BLOCK - 1), tf.int32)
        whole = tf.reduce_sum(tf.math.cumprod(is_whole, axis=1), axis=1)
        following = position + tf.where(whole > 0, whole * _WHOLE_BLOCK, 1 + at)
        return following, byte(following)

    (last, _), too_many_of_pixels = walk(
        lambda _position, at: at > 0, behind_block, (pixels, byte(pixels)), size
    )
    width, height = (number(files.head[:, at : at + 2], little_endian=True) for at in (6, 8))
    left, top, across, down = (
        number(facts[:, at : at + 2], little_endian=True) for at in (1, 3, 5, 7)
    )
    fills = tf.equal(left + top, 0) & tf.equal(across, width) & tf.equal(down, height)
    problem = first_of(
        (size < 14, Problem.CUT_OFF),
        (too_many | too_many_of_pixels, Problem.PARTS),
        (~found, Problem.NO_GIF_FRAME),
        (~fills, Problem.PART_OF_CANVAS),
    )
    of_others = nothing(files)._replace(
        beginning=13 + _palette_bytes(files.head[:, 10]),
        pixels=frame,
        pixels_bytes=tf.where(found, last + 1 - frame, 0),
        height=height,
        width=width,
        problem=problem,
    )
    mask = tf.cast(own, tf.int32)
    return Look(*(value * mask for value in of_others))


def _palette_bytes(flags: tf.Tensor) -> tf.Tensor:
    """int32 [N] -> int32 [N]: a palette of 2 to 256 colours, or none."""
    return tf.where(flags >= 0x80, tf.bitwise.left_shift(6, flags % 8), 0)
