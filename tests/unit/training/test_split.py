"""Splitting: shares, strata, groups, identical pictures, fixed places."""

from __future__ import annotations

import collections

import pytest

from foundation.command_line import InputError
from training.data import dataset
from training.data.dataset import Item
from training.data.split import split

SHARES = {"train_share": 0.6, "validation_share": 0.15}


def _items(count: int, **fields: object) -> list[Item]:
    return [
        Item(path=f"{index}", label=f"{index % 2}", stratum=f"{index % 2}", **fields)
        for index in range(count)
    ]


def _unique(items: list[Item]) -> list[str]:
    return [item.path for item in items]


def test_the_sample_set_is_split_to_the_image_and_in_every_stratum() -> None:
    items = dataset.find(None).items
    names = split(items, _unique(items), **SHARES, seed=1)
    assert collections.Counter(names) == {"train": 1574, "validation": 394, "test": 656}
    sizes = collections.Counter(item.stratum for item in items)
    placed = collections.Counter((item.stratum, name) for item, name in zip(items, names))
    for stratum, size in sizes.items():
        for name, share in (("train", 0.6), ("validation", 0.15), ("test", 0.25)):
            assert abs(placed[stratum, name] - share * size) < 2


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    items = _items(100)
    first = split(items, _unique(items), **SHARES, seed=1)
    assert split(items, _unique(items), **SHARES, seed=1) == first
    assert split(items, _unique(items), **SHARES, seed=2) != first


def test_images_of_one_group_never_straddle_a_split() -> None:
    items = [
        Item(path=f"{index}", label="a", stratum="a", group=f"part {index // 7}")
        for index in range(210)
    ]
    names = split(items, _unique(items), **SHARES, seed=3)
    of_group = collections.defaultdict(set)
    for item, name in zip(items, names):
        of_group[item.group].add(name)
    assert all(len(found) == 1 for found in of_group.values())
    counts = collections.Counter(names)
    assert abs(counts["train"] - 126) <= 7
    assert abs(counts["test"] - 52.5) <= 7


def test_identical_pictures_never_straddle_a_split_even_across_groups() -> None:
    items = _items(60)
    content = [f"picture {index % 20}" for index in range(60)]
    names = split(items, content, **SHARES, seed=1)
    for picture in set(content):
        assert len({name for name, key in zip(names, content) if key == picture}) == 1
    # the groups a and b are tied together by one picture that stands in both
    tied = [
        Item(path="1", label="x", stratum="x", group="a"),
        Item(path="2", label="x", stratum="x", group="a"),
        Item(path="3", label="x", stratum="x", group="b"),
        Item(path="4", label="x", stratum="x", group="b"),
    ]
    for seed in range(10):
        assert len(set(split(tied, ["p", "q", "q", "r"], **SHARES, seed=seed))) == 1


def test_a_fixed_split_is_kept_and_takes_its_group_along() -> None:
    items = [
        Item(path="1", label="x", stratum="x", group="a", split="test"),
        Item(path="2", label="x", stratum="x", group="a"),
        *_items(40),
    ]
    names = split(items, _unique(items), **SHARES, seed=1)
    assert names[:2] == ["test", "test"]


def test_one_group_fixed_to_two_splits_is_refused() -> None:
    items = [
        Item(path="left.png", label="x", stratum="x", group="a", split="test"),
        Item(path="right.png", label="x", stratum="x", group="a", split="train"),
    ]
    with pytest.raises(InputError, match=r"left.png and right.png in test and train"):
        split(items, _unique(items), **SHARES, seed=1)
