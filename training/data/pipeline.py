"""tf.data: read -> decode -> resize -> cache -> shuffle -> augment -> batch -> prefetch.

Every random choice is a function of (seed, epoch, position), so two runs see the same images in the
same order, and a run that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from training.config import RunConfig
from training.data import preprocessing

SHUFFLE_BYTES = 8192 * 64 * 64 * 3
"""Of decoded images held for shuffling: 8,192 at 64x64. Beyond it see `file_order`."""


def pixels(
    files: Sequence[str], targets: Sequence[float] | np.ndarray, config: RunConfig
) -> tf.data.Dataset:
    """Reads, decodes and resizes in parallel, in the order given.

    Args:
        files: N paths.
        targets: N places of classes or probabilities, or float [N, K].
        config: image size and limits.

    Returns:
        N elements (uint8 [H, W, 3], float32 [] or [K]).
    """

    @tf.autograph.experimental.do_not_convert
    def load(path: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = preprocessing.decode_and_resize(
            tf.io.read_file(path), config.image_height, config.image_width, config.max_pixels
        )
        return image, target

    listed = tf.data.Dataset.from_tensor_slices(
        (tf.constant(list(files), tf.string), tf.constant(np.asarray(targets, np.float32)))
    )
    return listed.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def scaled_batches(images: tf.data.Dataset, config: RunConfig) -> tf.data.Dataset:
    """Elements as `pixels` gives them -> (float32 [B, H, W, 3] in 0-1, float32 [B]), in order."""
    batches = batched(images, config).map(
        lambda images, targets: (preprocessing.scale(images), targets),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return batches.prefetch(tf.data.AUTOTUNE)


def batched(images: tf.data.Dataset, config: RunConfig) -> tf.data.Dataset:
    """Batches of config.batch_size, or one of all: tf.data makes room for a whole batch at once."""
    count = int(images.cardinality())
    return images.batch(min(config.batch_size, count) if count > 0 else config.batch_size)


def shuffle_buffer(count: int, config: RunConfig) -> int:
    """How many of `count` images are held for shuffling: as many as fit, at least a batch."""
    fit = SHUFFLE_BYTES // (config.image_height * config.image_width * 3)
    return min(count, max(fit, config.batch_size))


def file_order(count: int, config: RunConfig) -> np.ndarray:
    """The order in which training files are read: int [count].

    Where the buffer holds all of them it shuffles them whole and the order does not matter. Where
    it does not, files listed class by class would come class by class, so the list is shuffled.
    """
    order = np.arange(count)
    if shuffle_buffer(count, config) == count:
        return order
    return np.random.default_rng(config.seed).permutation(order)


def cached(dataset: tf.data.Dataset, count: int, config: RunConfig, file: Path) -> tf.data.Dataset:
    """Caches decoded images: in memory up to config.cache_memory_mb, beyond it in a file.

    Args:
        dataset: elements as `pixels` gives them.
        count: how many.
        config: image size and memory.
        file: where the cache may lie; must not exist, or be what an earlier pass left whole.
    """
    size_mb = count * config.image_height * config.image_width * 3 / 2**20
    return dataset.cache() if size_mb <= config.cache_memory_mb else dataset.cache(str(file))


def epoch_batches(
    images: tf.data.Dataset, count: int, epoch: int, config: RunConfig
) -> tf.data.Dataset:
    """One epoch of training batches: shuffled, augmented, scaled.

    Args:
        images: `count` elements as `pixels` gives them, cached.
        count: how many.
        epoch: from 0; another epoch is another order and other augmentations.
        config: seed, batch size, augmentation, steps.

    Returns:
        Batches (float32 [B, H, W, 3] in 0-1, float32 [B] or [B, K]); the last one may be smaller.
    """
    order = images.shuffle(
        shuffle_buffer(count, config),
        seed=config.seed * 100_003 + epoch,
        reshuffle_each_iteration=False,
    )

    epoch_seed = tf.constant(config.seed * 100_003 + epoch, tf.int64)

    def augmented(
        position: tf.Tensor, element: tuple[tf.Tensor, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        image, target = element
        return augment(preprocessing.scale(image), tf.stack([epoch_seed, position]), config), target

    changed = order.enumerate().map(
        augmented, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    batches = batched(changed, config)
    if config.mixup:
        batches = batches.enumerate().map(
            lambda number, batch: _mixed(batch, tf.stack([epoch_seed, number]), config),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
    if config.steps_per_epoch is not None:
        batches = batches.take(config.steps_per_epoch)
    return batches.prefetch(tf.data.AUTOTUNE)


def _mixed(
    batch: tuple[tf.Tensor, tf.Tensor], seed: tf.Tensor, config: RunConfig
) -> tuple[tf.Tensor, tf.Tensor]:
    """Each image with the one opposite to it in the batch, and their targets, by one share.

    Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.
    """
    images, targets = batch
    # a Beta(a, a) number is one of two Gamma(a) numbers over their sum
    one, other = tf.unstack(tf.random.stateless_gamma([2], seed, alpha=config.mixup))
    share = tf.math.divide_no_nan(one, one + other)
    return tuple(
        share * tensor + (1 - share) * tf.reverse(tensor, [0]) for tensor in (images, targets)
    )


def augment(image: tf.Tensor, seed: tf.Tensor, config: RunConfig) -> tf.Tensor:
    """Changes an image as the settings allow, the same way for the same seed.

    Args:
        image: float32 [H, W, 3], 0-1.
        seed: int64 [2].
        config: which changes, and how large.

    Returns:
        float32 [H, W, 3], 0-1.
    """
    seeds = tf.unstack(tf.random.split(seed, 5))
    if config.flip_horizontal:
        image = tf.image.stateless_random_flip_left_right(image, seeds[0])
    if config.flip_vertical:
        image = tf.image.stateless_random_flip_up_down(image, seeds[1])
    if config.quarter_turns:
        turns = tf.random.stateless_uniform([], seeds[2], maxval=4, dtype=tf.int32)
        image = tf.image.rot90(image, turns)
    if config.brightness:
        image = tf.image.stateless_random_brightness(image, config.brightness, seeds[3])
    if config.contrast:
        low, high = 1 - config.contrast, 1 + config.contrast
        image = tf.image.stateless_random_contrast(image, low, high, seeds[4])
    if config.brightness or config.contrast:
        image = tf.clip_by_value(image, 0.0, 1.0)
    return tf.ensure_shape(image, [config.image_height, config.image_width, 3])
