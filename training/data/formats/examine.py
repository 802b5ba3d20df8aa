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
from training.data.formats.look import HEAD_BYTES, Files, Look, Problem, apart, nothing

FORMATS = (jpeg, png, gif, bmp)
"""In the order of `kind`."""

NO_FORMAT = len(FORMATS)

_JPEG_SIZES = apart(jpeg.sizes)
_LOOKS = tuple(apart(one.look) for one in FORMATS)

_TEXTS = {
    Problem.NONE: "",
    Problem.EMPTY: "the file is empty",
    Problem.FOREIGN: f"not a {', '.join(contract.IMAGE_FORMATS)} file (by content, not by name)",
    Problem.CUT_OFF: "the header is cut off",
    Problem.SIZE: "too large or without pixels",
    Problem.PARTS: "a file of too many parts; save it again",
    Problem.SCANS: f"a JPEG of more than {contract.MAX_JPEG_SCANS} scans; save it again",
    Problem.NO_PNG_HEADER: "a PNG without its header",
    Problem.NO_GIF_FRAME: "a GIF without a frame",
    Problem.PART_OF_CANVAS: "a GIF whose first frame is not its whole canvas; save it as PNG",
    Problem.STRANGE_BMP: "a BMP that is compressed or has a colour palette; save it as PNG",
}


class Examined(NamedTuple):
    """N files, examined."""

    files: Files
    """as they are"""
    content: tf.Tensor
    """string [N]: the file without what its pixels do not need"""
    kind: tf.Tensor
    """int32 [N]: the place of its format in FORMATS, or NO_FORMAT"""
    height: tf.Tensor
    """int32 [N], of what a decoder makes room for; 0 for a JPEG: see sizes_of_jpegs()"""
    width: tf.Tensor
    """int32 [N]"""
    problem: tf.Tensor
    """int32 [N]: a Problem, why it must not be decoded; NONE where nothing is known against it"""


def examine(content: tf.Tensor, max_pixels: int) -> Examined:
    """Looks at everything but the pixels.

    Args:
        content: string [N], each a whole file of any kind, or empty.
        max_pixels: largest height times width.
    """
    head = tf.strings.substr(content, 0, HEAD_BYTES)
    numbers = tf.io.decode_raw(head, tf.uint8, fixed_length=HEAD_BYTES)
    files = Files(content, tf.strings.length(content), tf.cast(numbers, tf.int32))
    kind = _kind(files.head[:, 0], head)
    # One row alone is of one kind, which is looked for alone.
    look = tf.cond(
        tf.equal(tf.size(kind), 1),
        lambda: tf.switch_case(
            kind[0],
            [functools.partial(look, files, tf.equal(kind, kind)) for look in _LOOKS]
            + [lambda: nothing(files)],
        ),
        lambda: _look_for_all(files, kind),
    )
    parts = [
        # a file may end before the place that it names
        tf.strings.substr(content, tf.minimum(begin, files.size), tf.maximum(length, 0))
        for begin, length in (
            (tf.zeros_like(look.beginning), look.beginning),
            (look.extra, look.extra_bytes),
            (look.pixels, look.pixels_bytes),
        )
    ]
    ends = tf.gather([*(one.END for one in FORMATS), b""], kind)
    fits = tf.equal(kind, FORMATS.index(jpeg)) | size_fits(look.height, look.width, max_pixels)
    foreign = tf.where(tf.equal(files.size, 0), int(Problem.EMPTY), int(Problem.FOREIGN))
    problem = tf.where(
        tf.equal(kind, NO_FORMAT),
        foreign,
        tf.where(fits | tf.not_equal(look.problem, Problem.NONE), look.problem, int(Problem.SIZE)),
    )
    return Examined(
        files=files,
        content=tf.strings.join([*parts, ends]),
        kind=kind,
        height=look.height,
        width=look.width,
        problem=problem,
    )


def _kind(first: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    """The first byte, and then the others, of N files -> int32 [N], the place in FORMATS."""
    table = [NO_FORMAT] * 256
    for place, one in enumerate(FORMATS):
        table[one.MAGIC[0]] = place
    supposed = tf.gather(table, first)
    magics = [*(one.MAGIC for one in FORMATS), b"none"]
    begins = tf.strings.substr(
        head, tf.zeros_like(first), tf.gather([len(magic) for magic in magics], supposed)
    )
    return tf.where(tf.equal(begins, tf.gather(magics, supposed)), supposed, NO_FORMAT)


@apart
def _look_for_all(files: Files, kind: tf.Tensor) -> Look:
    """Rows of any kinds."""
    looks = []
    for place, look in enumerate(_LOOKS):
        own = tf.equal(kind, place)
        looks.append(
            tf.cond(
                tf.reduce_any(own),
                functools.partial(look, files, own),
                lambda: nothing(files),
            )
        )
    return Look(*(tf.add_n(list(alike)) for alike in zip(*looks)))


def size_fits(height: tf.Tensor, width: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """int32 [...] each -> bool [...]: whether there are pixels, and not too many."""
    pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
    return (height > 0) & (width > 0) & (pixels <= max_pixels)


def size_text(height: tf.Tensor, width: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Why a size is refused: string [...]."""
    return tf.strings.join(
        [
            f"{_TEXTS[Problem.SIZE]}: at most {max_pixels} are allowed; w x h = ",
            tf.strings.as_string(width),
            " x ",
            tf.strings.as_string(height),
        ]
    )


def problem_text(examined: Examined, max_pixels: int) -> tf.Tensor:
    """string [N]: what is wrong, in words; empty where nothing is."""
    texts = tf.gather([_TEXTS[problem] for problem in Problem], examined.problem)
    of_size = size_text(examined.height, examined.width, max_pixels)
    return tf.where(tf.equal(examined.problem, Problem.SIZE), of_size, texts)


def pixels(examined: Examined) -> tf.Tensor:
    """int64 [N], height times width; 0 for a JPEG that tells its size to its decoder alone."""
    own = tf.equal(examined.kind, FORMATS.index(jpeg))
    height, width = tf.cond(
        tf.reduce_any(own),
        lambda: _JPEG_SIZES(examined.files, own),
        lambda: (tf.zeros_like(examined.height),) * 2,
    )
    return tf.cast(examined.height + height, tf.int64) * tf.cast(examined.width + width, tf.int64)
