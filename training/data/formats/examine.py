"""What surrounds the pixels in image files: looked at before a decoder sees them.

    examined = examine(files, max_pixels)

A decoder trusts the numbers in a file. A PNG of 42 bytes that claims a comment of two gigabytes
makes libpng ask for them; giflib decodes every frame of a GIF although one is used; a JPEG of a few
kilobytes can ask for hundreds of passes over all its pixels. So only what the pixels need goes on
to the decoder, byte for byte, and what costs too much is refused.

All rows of a batch are walked over together, because a step costs the same for one and for many. No
operation here fails, whatever the bytes are: a row has a problem, in words, or none.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import tensorflow as tf

from tfs_client import contract
from training.data.formats import bmp, gif, jpeg, png
from training.data.formats.look import Files, nothing

FORMATS = (jpeg, png, gif, bmp)
"""In the order of `kind`."""

NO_FORMAT = len(FORMATS)

_HEAD_BYTES = 54
"""Every fixed header: a PNG's takes 33 bytes, a GIF's 13, a BMP's 54."""


class Examined(NamedTuple):
    """N files, examined."""

    content: tf.Tensor
    """string [N]: the file without what its pixels do not need"""
    kind: tf.Tensor
    """int32 [N]: the place of its format in FORMATS, or NO_FORMAT"""
    pixels: tf.Tensor
    """int64 [N]: height times width of what a decoder makes room for; 0 for a JPEG that tells its
    size to its decoder alone"""
    problem: tf.Tensor
    """string [N]: why it must not be decoded; empty where nothing is known against it"""


def examine(content: tf.Tensor, max_pixels: int) -> Examined:
    """Looks at everything but the pixels.

    Args:
        content: string [N], each a whole file of any kind, or empty.
        max_pixels: largest height times width.
    """
    head = tf.strings.substr(content, 0, _HEAD_BYTES)
    files = Files(
        content,
        tf.strings.length(content),
        tf.cast(tf.io.decode_raw(head, tf.uint8, fixed_length=_HEAD_BYTES), tf.int64),
    )
    owns = [tf.equal(tf.strings.substr(head, 0, len(one.MAGIC)), one.MAGIC) for one in FORMATS]
    absent = nothing(files.size)
    looks = [
        tf.cond(tf.reduce_any(own), functools.partial(one.look, files, own), lambda: absent)
        for one, own in zip(FORMATS, owns)
    ]
    kind = NO_FORMAT + tf.add_n(
        [tf.where(own, place - NO_FORMAT, 0) for place, own in enumerate(owns)]
    )
    parts = [
        tf.strings.substr(content, *(tf.add_n(list(numbers)) for numbers in zip(*alike)))
        for alike in zip(*(one.parts for one in looks))
    ]
    beginning = tf.add_n([one.beginning for one in looks])
    parts.insert(0, tf.strings.substr(content, tf.zeros_like(beginning), beginning))
    height = tf.add_n([one.height for one in looks])
    width = tf.add_n([one.width for one in looks])
    found = tf.strings.join([one.problem for one in looks])
    problem = tf.where(
        tf.equal(found, ""), _problem_of(files, kind, height, width, max_pixels), found
    )
    return Examined(
        content=tf.strings.join([*parts, *(one.tail for one in looks)]),
        kind=kind,
        pixels=height * width,
        problem=problem,
    )


def size_problem(height: tf.Tensor, width: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """string [...], what is wrong with sizes int64 [...]; empty where nothing is."""
    fits = (height > 0) & (width > 0) & (height * width <= max_pixels)
    text = tf.strings.join(
        [
            f"too large or without pixels: at most {max_pixels} are allowed; w x h = ",
            tf.strings.as_string(width),
            " x ",
            tf.strings.as_string(height),
        ]
    )
    return tf.where(fits, "", text)


def _problem_of(
    files: Files, kind: tf.Tensor, height: tf.Tensor, width: tf.Tensor, max_pixels: int
) -> tf.Tensor:
    expected = ", ".join(contract.IMAGE_FORMATS)
    is_jpeg = tf.equal(kind, FORMATS.index(jpeg))
    return tf.where(
        tf.equal(files.size, 0),
        "the file is empty",
        tf.where(
            tf.equal(kind, NO_FORMAT),
            f"not a {expected} file (by content, not by name)",
            tf.where(is_jpeg, "", size_problem(height, width, max_pixels)),
        ),
    )
