"""JPEG: a file may ask for any number of passes over its pixels, each in a few bytes.

Source: ITU-T T.81 annex B.
"""

from __future__ import annotations

import tensorflow as tf

from tfs_client.contract import MAX_JPEG_SCANS
from training.data.formats.look import Files, Look, Problem, apart, first_of, nothing, number, walk

MAGIC = b"\xff\xd8\xff"
END = b""

_FRAME_BYTES = 9
"""Marker, length, bits, height and width."""

_NO_FRAMES = (0xC4, 0xC8, 0xCC)
"""Between the markers of frames: tables, and one that is reserved."""

_START, _END, _SCAN, _TEMPORARY = 0xD8, 0xD9, 0xDA, 0x01


def look(files: Files, own: tf.Tensor) -> Look:
    """Counts the scans. The size is left to the decoder, and to sizes().

    Args:
        files: of a batch.
        own: bool [N], those that begin as a JPEG.
    """
    many = _has_many_scans(tf.where(own, files.content, ""))
    return nothing(files)._replace(
        beginning=tf.where(own, files.size, 0), problem=first_of((many, Problem.SCANS))
    )


def sizes(files: Files, own: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """int32 [N] each, height and width; 0 where there is rubbish before them.

    Decoders pass rubbish over, so that they are the ones to refuse a size.

    Args:
        files: of a batch.
        own: bool [N], those that begin as a JPEG.
    """

    def segment(position: tf.Tensor) -> tf.Tensor:
        return tf.cast(files.numbers(position, tf.uint8, _FRAME_BYTES), tf.int32)

    def is_frame(marker: tf.Tensor) -> tf.Tensor:
        others = tf.reduce_any([tf.equal(marker, one) for one in _NO_FRAMES], axis=0)
        return (marker >= 0xC0) & (marker < 0xD0) & ~others

    def under_way(_position, found):
        marker = found[:, 1]
        return own & tf.equal(found[:, 0], 0xFF) & ~is_frame(marker) & tf.not_equal(marker, _SCAN)

    def step(position, found):
        length = number(found[:, 2:4], little_endian=False)
        # A marker may be filled up with 0xFF before it.
        following = position + tf.where(tf.equal(found[:, 1], 0xFF), 1, 2 + length)
        return following, segment(following)

    start = tf.fill(tf.shape(files.size), 2)
    (_, found), _ = walk(under_way, step, (start, segment(start)), files.size)
    here = own & tf.equal(found[:, 0], 0xFF) & is_frame(found[:, 1])
    return tuple(
        tf.where(here, number(found[:, at : at + 2], little_endian=False), 0) for at in (5, 7)
    )


def _has_many_scans(content: tf.Tensor) -> tf.Tensor:
    """string [N] -> bool [N]."""
    # Nearly always enough, because the mark of a scan cannot stand within one.
    marks = tf.raw_ops.StringSplitV2(
        input=content, sep=bytes((0xFF, _SCAN)), maxsplit=MAX_JPEG_SCANS + 1
    )
    count = tf.size(content, tf.int64)
    parts = tf.math.unsorted_segment_sum(
        tf.ones_like(marks.indices[:, 0], tf.int32), marks.indices[:, 0], count
    )
    suspects = parts - 1 > MAX_JPEG_SCANS

    @apart
    def counted(content: tf.Tensor, suspects: tf.Tensor) -> tf.Tensor:
        rows = tf.where(suspects)[:, 0]
        many = tf.map_fn(
            lambda row: _asks_for_many(content[row]), rows, fn_output_signature=tf.bool
        )
        return tf.scatter_nd(rows[:, tf.newaxis], many, tf.shape(content, tf.int64))

    return tf.cond(tf.reduce_any(suspects), lambda: counted(content, suspects), lambda: suspects)


def _asks_for_many(content: tf.Tensor) -> tf.Tensor:
    """string [], with many marks of scans -> bool [], counted up to the end of the picture.

    The same two bytes may stand elsewhere: in a film behind the picture, in a profile before it.
    """
    data = tf.io.decode_raw(content, tf.uint8)
    follows = data[1:]
    is_stuffed = tf.equal(follows, 0x00) | tf.equal(follows, 0xFF)
    is_restart = tf.equal(tf.bitwise.bitwise_and(follows, 0xF8), 0xD0)
    markers = tf.where(tf.equal(data[:-1], 0xFF) & ~is_stuffed & ~is_restart)[:, 0]
    count = tf.size(markers, tf.int64)

    def under_way(_position, scans, ended):
        return ~ended & (scans <= MAX_JPEG_SCANS)

    def step(position, scans, _ended):
        index = tf.searchsorted(markers, position, out_type=tf.int64)
        at = markers[tf.minimum(index, count - 1)[0]]
        head = tf.cast(tf.pad(data[at + 1 : at + 4], [[0, 3]])[:3], tf.int64)
        marker, length = head[:1], tf.maximum(head[1:2] * 256 + head[2:], 2)
        alone = tf.equal(marker, _START) | tf.equal(marker, _TEMPORARY)
        return (
            at + 2 + tf.where(alone, tf.constant(0, tf.int64), length),
            scans + tf.cast(tf.equal(marker, _SCAN), tf.int64),
            (index >= count) | tf.equal(marker, _END),
        )

    start = tf.zeros([1], tf.int64)
    (_, scans, _), too_many = walk(
        under_way, step, (start, start, tf.constant([False])), tf.size(data)[tf.newaxis]
    )
    return too_many[0] | (scans[0] > MAX_JPEG_SCANS)
