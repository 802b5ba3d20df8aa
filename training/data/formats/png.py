"""PNG: header, palette and pixels are kept; comments, profiles and all behind the pixels are not.

A chunk says how long it is, and libpng makes room for that before it reads on. So the file ends
before a chunk that claims more than there is, unless it holds pixels, which are read piece by
piece. Transparency is left out with the rest: the graph drops it.

Source: the PNG specification (third edition) 5 and 11.
"""

from __future__ import annotations

import tensorflow as tf

from training.data.formats.look import Files, Look, Problem, apart, first_of, number, walk

MAGIC = b"\x89PNG\r\n"
END = b"\0\0\0\0IEND\xaeB`\x82"

_FIRST = b"\0\0\0\rIHDR"
_HEADER_BYTES = 33
"""The signature and the chunk IHDR."""

_COLOUR_TYPE, _OF_PALETTE = 25, 3
"""Where the header has it, and the one of which a palette is needed."""

_PLTE, _IDAT, _IEND = (int.from_bytes(kind, "big") for kind in (b"PLTE", b"IDAT", b"IEND"))


def look(files: Files, own: tf.Tensor) -> Look:
    """Looks for the chunks that are needed.

    Args:
        files: of a batch.
        own: bool [N], those that begin as a PNG.
    """
    zero = tf.zeros_like(files.size)
    named = tf.reduce_all(tf.equal(files.head[:, 8:16], list(_FIRST)), axis=1)
    begin, end, found = _first_pixels(files, own)
    quick = found & tf.not_equal(files.head[:, _COLOUR_TYPE], _OF_PALETTE)
    slow = own & named & ~quick
    (end, _), too_many = walk(
        lambda _position, kind: tf.equal(kind, _IDAT),
        lambda position, _: _to_next(files, position),
        (end, tf.where(own & quick, _kind(files, end), 0)),
        files.size,
    )
    palette, palette_bytes, begin, end, too_many = tf.cond(
        tf.reduce_any(slow),
        lambda: _chunk_by_chunk(files, slow, begin, end, too_many),
        lambda: (zero, zero, begin, end, too_many),
    )
    height, width = (number(files.head[:, at : at + 4], little_endian=False) for at in (20, 16))
    problem = first_of(
        (files.size < 24, Problem.CUT_OFF),
        (too_many, Problem.PARTS),
        (~named, Problem.NO_PNG_HEADER),
    )
    of_others = Look(
        beginning=zero + _HEADER_BYTES,
        extra=palette,
        extra_bytes=palette_bytes,
        pixels=begin,
        pixels_bytes=end - begin,
        height=height,
        width=width,
        problem=problem,
    )
    mask = tf.cast(own, tf.int32)
    return Look(*(value * mask for value in of_others))


def _first_pixels(files: Files, own: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Where the first chunk of pixels stands: looked for by its name, and then walked to.

    Its name may stand elsewhere too, in a comment; then the walk passes it by.

    Returns:
        int32 [N], its begin; int32 [N], its end; bool [N], whether it was found so.
    """
    count = tf.size(files.size)
    parts = tf.raw_ops.StringSplitV2(
        input=tf.where(own, files.content, ""), sep=b"IDAT", maxsplit=1
    )
    row, place = tf.unstack(parts.indices, num=2, axis=1)
    before = tf.where(tf.equal(place, 0), tf.strings.length(parts.values), 0)
    begin = tf.math.unsorted_segment_sum(before, row, count) - 4
    is_there = tf.math.unsorted_segment_sum(place, row, count) > 0
    length = files.numbers(tf.maximum(begin, 0), tf.int32, 1)[:, 0]
    fits = (begin >= _HEADER_BYTES) & (length >= 0) & (length <= files.size - 12 - begin)
    (position,), _ = walk(
        lambda position: position < begin,
        lambda position: (_behind(files, position),),
        (tf.where(is_there & fits, _HEADER_BYTES, files.size),),
        files.size,
    )
    found = tf.equal(position, begin)
    return tf.where(found, begin, 0), tf.where(found, begin + 12 + length, 0), found


def _behind(files: Files, position: tf.Tensor) -> tf.Tensor:
    """Where the next chunk begins; the end of the file if this one claims more."""
    length = files.numbers(position, tf.int32, 1)[:, 0]
    # A length of 2^31 or more reads as a negative number.
    fits = (length >= 0) & (length <= files.size - 12 - position)
    return tf.where(fits, position + 12 + length, files.size)


def _kind(files: Files, position: tf.Tensor) -> tf.Tensor:
    return files.numbers(position, tf.int32, 2)[:, 1]


def _to_next(files: Files, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    following = _behind(files, position)
    return following, _kind(files, following)


@apart
def _chunk_by_chunk(
    files: Files, slow: tf.Tensor, begin: tf.Tensor, end: tf.Tensor, too_many: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """Walks from the header to the end of the pixels, in the rows that are `slow`.

    Returns:
        the palette's begin and length, the pixels' begin and end, and whether there are too many
        chunks, for all rows.
    """
    zero = tf.zeros_like(files.size)

    def under_way(position, _kind, _palette, _begin, _end):
        return position < files.size - 7

    def step(position, kind, palette, begin, end):
        following, next_kind = _to_next(files, position)
        is_pixels = tf.equal(kind, _IDAT)
        before = tf.equal(begin, 0)
        whole = following < files.size
        is_palette = tf.equal(kind, _PLTE) & before & whole
        goes_on = tf.not_equal(kind, _IEND) & (is_pixels | before)
        return (
            tf.where(goes_on, following, files.size),
            next_kind,
            tf.where(is_palette, position, palette),
            tf.where(is_pixels & before, position, begin),
            tf.where(is_pixels, following, end),
        )

    start = tf.where(slow, _HEADER_BYTES, files.size)
    kind = _kind(files, start)
    (_, _, palette, its_begin, its_end), many = walk(
        under_way, step, (start, kind, zero, zero, zero), files.size
    )
    palette_bytes = 12 + files.numbers(palette, tf.int32, 1)[:, 0]
    return (
        palette,
        tf.where(palette > 0, palette_bytes, 0),
        tf.where(slow, its_begin, begin),
        tf.where(slow, its_end, end),
        tf.where(slow, many, too_many),
    )
