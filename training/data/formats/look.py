"""What each format's module finds in a batch of files, and the loop that all of them walk with."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

MAX_BLOCKS = 2_000
"""Parts of one file (chunks, blocks), many times what real files have, unless they are filled with
BLOCK_BYTES on average."""

BLOCK_BYTES = 128
"""Encoders fill the blocks of a GIF's pixels (255 bytes) and of a PNG's (8,192 and more)."""

TOO_MANY_PARTS = "a file of too many parts; save it again"


class Files(NamedTuple):
    """N files of one batch."""

    content: tf.Tensor
    """string [N]"""
    size: tf.Tensor
    """int32 [N], bytes"""
    head: tf.Tensor
    """int64 [N, 54], the first bytes as numbers; zeros where there are fewer"""

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
    """What a format's module finds; zeros and empty strings in the rows of other formats.

    So what several modules found is put together by adding up and joining.
    """

    beginning: tf.Tensor
    """int32 [N], how many of the first bytes a decoder needs"""
    parts: tuple[tuple[tf.Tensor, tf.Tensor], ...]
    """what it needs behind them, in order: begin and length, int32 [N] each; two parts"""
    tail: tf.Tensor
    """string [N], what follows on the parts"""
    height: tf.Tensor
    """int64 [N]"""
    width: tf.Tensor
    """int64 [N]"""
    problem: tf.Tensor
    """string [N]"""


def nothing(size: tf.Tensor) -> Look:
    """What a module finds in files int32 [N] of which none is its own."""
    zero, zero64 = tf.zeros_like(size), tf.zeros_like(size, tf.int64)
    text = tf.fill(tf.shape(size), "")
    return Look(zero, ((zero, zero), (zero, zero)), text, zero64, zero64, text)


def number(numbers: tf.Tensor, *, little_endian: bool) -> tf.Tensor:
    """A number of so many bytes a row: int64 [N, 2 | 4] -> int64 [N]; of four bytes with a sign."""
    powers = [256**power for power in range(numbers.shape[1])]
    weights = tf.constant(powers if little_endian else powers[::-1], tf.int64)
    value = tf.reduce_sum(numbers * weights, axis=1)
    return tf.where(value >= 2**31, value - 2**32, value)


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


def text_where(condition: tf.Tensor, text: str) -> tf.Tensor:
    """bool [N] -> string [N]: the text, or nothing."""
    return tf.where(condition, text, "")
