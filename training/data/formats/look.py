"""What each format's module finds in a batch of files, and the loop that all of them walk with."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

MAX_BLOCKS = 2_000
"""Parts of one file (chunks, blocks), many times what real files have, unless they are filled with
BLOCK_BYTES on average."""

BLOCK_BYTES = 224
"""Encoders fill the blocks of a GIF's pixels (255 bytes) and of a PNG's (8,192 and more)."""

HEAD_BYTES = 54
"""Every fixed header: a PNG's takes 33 bytes, a GIF's 13, a BMP's 54."""


class Problem(enum.IntEnum):
    """Why a file must not be decoded."""

    NONE = 0
    EMPTY = 1
    FOREIGN = 2
    CUT_OFF = 3
    SIZE = 4
    PARTS = 5
    SCANS = 6
    NO_PNG_HEADER = 7
    NO_GIF_FRAME = 8
    PART_OF_CANVAS = 9
    STRANGE_BMP = 10


class Files(NamedTuple):
    """N files of one batch."""

    content: tf.Tensor
    """string [N]"""
    size: tf.Tensor
    """int32 [N], bytes"""
    head: tf.Tensor
    """int32 [N, HEAD_BYTES], the first bytes as numbers; zeros where there are fewer"""

    def numbers(self, position: tf.Tensor, dtype: tf.DType, count: int) -> tf.Tensor:
        """Numbers in the files, big end first: dtype [N, count]; zeros beyond the end.

        Args:
            position: int32 [N], where the first one begins.
            dtype: of the numbers.
            count: how many.
        """
        length = count * dtype.size
        lengths = tf.fill(tf.shape(position), length)
        part = tf.strings.substr(self.content, tf.minimum(position, self.size), lengths)
        return tf.io.decode_raw(part, dtype, little_endian=False, fixed_length=length)


class Look(NamedTuple):
    """What a format's module finds; zeros in the rows of other formats.

    So what several modules found is put together by adding up.
    """

    beginning: tf.Tensor
    """int32 [N], how many of the first bytes a decoder needs"""
    extra: tf.Tensor
    """int32 [N], where what it needs next begins"""
    extra_bytes: tf.Tensor
    """int32 [N]"""
    pixels: tf.Tensor
    """int32 [N], where what it needs last begins"""
    pixels_bytes: tf.Tensor
    """int32 [N]"""
    height: tf.Tensor
    """int32 [N]; negative where a header says 2^31 or more"""
    width: tf.Tensor
    """int32 [N]"""
    problem: tf.Tensor
    """int32 [N], a Problem"""


def apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors as one operation of the graph.

    For what is seldom done: TensorFlow passes through every operation of a branch that is not
    taken, which for hundreds of them takes as long as decoding a small picture does.
    """
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


def nothing(files: Files) -> Look:
    """What a module finds in files of which none is its own."""
    return Look(*[tf.zeros_like(files.size)] * len(Look._fields))


def number(numbers: tf.Tensor, *, little_endian: bool) -> tf.Tensor:
    """A number of so many bytes a row: int32 [N, 2 | 4] -> int32 [N]; of four bytes with a sign."""
    powers = [256**power for power in range(numbers.shape[1])]
    weights = tf.constant(powers if little_endian else powers[::-1], tf.int32)
    # What goes beyond 2^31 comes out as the negative number that the same bytes mean.
    return tf.reduce_sum(numbers * weights, axis=1)


def walk(
    under_way: Callable[..., tf.Tensor],
    step: Callable[..., tuple],
    start: tuple,
    size: tf.Tensor,
) -> tuple[tuple, tf.Tensor]:
    """Goes on in all rows together, until each has come to its end or has too many parts.

    Args:
        under_way: state -> bool [N].
        step: state -> the next state, for all rows; those at their end keep theirs.
        start: the state, a tensor [N] or [N, M] each.
        size: int32 [N], bytes.

    Returns:
        the last state, and bool [N]: whether a row has too many parts.
    """
    most = MAX_BLOCKS + size // BLOCK_BYTES

    def active(taken: tf.Tensor, *state: tf.Tensor) -> tf.Tensor:
        return tf.logical_and(under_way(*state), taken < most)

    def take(taken: tf.Tensor, *state: tf.Tensor) -> tuple:
        goes = active(taken, *state)
        following = [
            tf.where(tf.reshape(goes, [-1] + [1] * (old.shape.rank - 1)), new, old)
            for new, old in zip(step(*state), state)
        ]
        for new, old in zip(following, state):
            new.set_shape(old.shape)
        return (taken + 1, *following)

    _, *end = tf.while_loop(
        lambda *state: tf.reduce_any(active(*state)),
        take,
        (tf.constant(0), *start),
        parallel_iterations=1,
    )
    return tuple(end), under_way(*end)


def first_of(*problems: tuple[tf.Tensor, Problem]) -> tf.Tensor:
    """bool [N] with a Problem each -> int32 [N], the first one that is true."""
    found = tf.zeros_like(problems[0][0], tf.int32)
    for condition, problem in reversed(problems):
        found = tf.where(condition, int(problem), found)
    return found
