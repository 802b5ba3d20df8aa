"""tf.data: order, augmentation, caching."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from training.config import RunConfig
from training.data import dataset, pipeline

STILL = RunConfig(image_height=24, image_width=24, batch_size=8)
CONFIG = dataclasses.replace(STILL, flip_horizontal=True, flip_vertical=True)


@pytest.fixture
def files(image_folder: Path) -> tuple[list[str], list[int]]:
    found = dataset.find(str(image_folder))
    return [str(found.file(item)) for item in found.items], [found.target(i) for i in found.items]


def _epoch(images: tf.data.Dataset, count: int, epoch: int, config: RunConfig) -> np.ndarray:
    batches = pipeline.epoch_batches(images, count, epoch, config)
    return np.concatenate([batch.numpy() for batch, _ in batches])


def test_pixels_come_in_the_order_given_with_their_targets(files: tuple) -> None:
    paths, targets = files
    elements = list(pipeline.pixels(paths, targets, CONFIG).as_numpy_iterator())
    assert [int(target) for _, target in elements] == targets
    for path, (image, _) in zip(paths, elements):
        np.testing.assert_array_equal(image, np.asarray(PIL.Image.open(path)))


def test_an_epoch_holds_every_image_once_and_scaled(files: tuple) -> None:
    images = pipeline.pixels(*files, STILL).cache()
    seen = _epoch(images, 40, 0, STILL)
    expected = np.stack([image for image, _ in images.as_numpy_iterator()]) / np.float32(255)
    assert seen.shape == (40, 24, 24, 3)
    np.testing.assert_allclose(
        np.sort(seen.mean(axis=(1, 2, 3))), np.sort(expected.mean(axis=(1, 2, 3))), rtol=1e-5
    )


def test_the_same_epoch_is_the_same_again_and_another_is_another(files: tuple) -> None:
    images = pipeline.pixels(*files, CONFIG).cache()
    first = _epoch(images, 40, 3, CONFIG)
    np.testing.assert_array_equal(_epoch(images, 40, 3, CONFIG), first)
    assert not np.array_equal(_epoch(images, 40, 4, CONFIG), first)
    other_seed = dataclasses.replace(CONFIG, seed=2)
    assert not np.array_equal(_epoch(images, 40, 3, other_seed), first)


def test_a_batch_larger_than_all_images_takes_no_more_room_than_they_do(files: tuple) -> None:
    endless = dataclasses.replace(STILL, batch_size=2**31 - 1)  # hung, at 100 % of a core
    images = pipeline.pixels(*files, endless).cache()
    (batch,) = pipeline.epoch_batches(images, 40, 0, endless)
    (scaled,) = pipeline.scaled_batches(images, endless)
    assert batch[0].shape == scaled[0].shape == (40, 24, 24, 3)


@pytest.mark.thorough
def test_more_images_than_the_buffer_holds_are_mixed_all_the_same(
    files: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "SHUFFLE_BYTES", 0)
    paths, targets = files
    assert pipeline.shuffle_buffer(40, STILL) == STILL.batch_size < 40
    order = pipeline.file_order(40, STILL)
    assert sorted(order) == list(range(40))
    assert np.array_equal(order, pipeline.file_order(40, STILL))
    images = pipeline.pixels([paths[i] for i in order], [targets[i] for i in order], STILL)
    first, *_ = pipeline.epoch_batches(images, 40, 0, STILL)
    assert set(first[1].numpy()) == {0.0, 1.0}  # listed class by class, met mixed


def test_the_buffer_holds_as_many_images_as_fit_whatever_their_size() -> None:
    many = 10**6
    assert pipeline.shuffle_buffer(many, RunConfig()) == 8192
    large = RunConfig(image_height=1024, image_width=1024)
    assert pipeline.shuffle_buffer(many, large) == 32  # 100 MB, where it was 26 GB
    huge = RunConfig(image_height=4096, image_width=4096, batch_size=8)
    assert pipeline.shuffle_buffer(many, huge) == 8  # a batch all the same
    assert pipeline.shuffle_buffer(40, large) == 32
    assert pipeline.shuffle_buffer(20, large) == 20


def test_steps_per_epoch_bound_an_epoch(files: tuple) -> None:
    config = dataclasses.replace(CONFIG, steps_per_epoch=2)
    assert len(_epoch(pipeline.pixels(*files, config), 40, 0, config)) == 16


@pytest.mark.parametrize("memory_mb", [1024, 0])
def test_images_are_decoded_once_for_all_epochs_in_memory_or_in_a_file(
    files: tuple, memory_mb: int, tmp_path: Path
) -> None:
    config = dataclasses.replace(CONFIG, cache_memory_mb=memory_mb)
    images = pipeline.cached(pipeline.pixels(*files, config), 40, config, tmp_path / "cache")
    before = _epoch(images, 40, 0, config)
    assert bool(list(tmp_path.glob("cache*"))) == (memory_mb == 0)
    for path in files[0]:
        Path(path).unlink()
    np.testing.assert_array_equal(_epoch(images, 40, 0, config), before)


IMAGE = np.random.default_rng(0).random((24, 24, 3), np.float32)


def _augmented(config: RunConfig, count: int = 64) -> list[np.ndarray]:
    return [
        pipeline.augment(tf.constant(IMAGE), tf.constant([1, index], tf.int64), config).numpy()
        for index in range(count)
    ]


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        ({"flip_horizontal": True}, [IMAGE, IMAGE[:, ::-1]]),
        ({"flip_vertical": True}, [IMAGE, IMAGE[::-1]]),
        ({"quarter_turns": True}, [np.rot90(IMAGE, turns) for turns in range(4)]),
    ],
)
def test_turning_and_mirroring_give_exactly_the_allowed_images(
    setting: dict, allowed: list[np.ndarray]
) -> None:
    counts = [0] * len(allowed)
    for image in _augmented(dataclasses.replace(STILL, **setting)):
        (match,) = [index for index, one in enumerate(allowed) if np.array_equal(image, one)]
        counts[match] += 1
    assert min(counts) >= 5  # of 64


def test_brightness_shifts_by_no_more_than_asked() -> None:
    grey = tf.fill([24, 24, 3], 0.5)
    config = dataclasses.replace(STILL, brightness=0.2)
    shifts = [
        pipeline.augment(grey, tf.constant([1, index], tf.int64), config).numpy() - 0.5
        for index in range(64)
    ]
    assert all(np.ptp(shift) == 0 for shift in shifts)
    sizes = [float(shift.max()) for shift in shifts]
    assert -0.2001 <= min(sizes) < -0.1
    assert 0.1 < max(sizes) <= 0.2001


def test_contrast_changes_the_spread_and_stays_within_white_and_black() -> None:
    images = _augmented(dataclasses.replace(STILL, contrast=0.5))
    spreads = [float(image.std() / IMAGE.std()) for image in images]
    assert 0.49 < min(spreads) < 0.8
    assert max(spreads) > 1.1
    assert all(image.min() >= 0 and image.max() <= 1 for image in images)


def test_without_augmentation_images_stay_as_they_are() -> None:
    assert all(np.array_equal(image, IMAGE) for image in _augmented(STILL, 4))
