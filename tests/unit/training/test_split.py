"""Splitting: shares, strata, groups, identical pictures, fixed places."""

from __future__ import annotations

import collections
import itertools
import random

import pytest

from foundation.command_line import InputError
from training.data import dataset
from training.data.dataset import Item
from training.data.split import split, split_by_fold

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


def _grouped(**sizes: list[int]) -> list[Item]:
    """A group for each size, of the class that the keyword names."""
    return [
        Item(path=f"{label} {group} {index}", label=label, stratum=label, group=f"{label} {group}")
        for label, of_class in sizes.items()
        for group, size in enumerate(of_class)
        for index in range(size)
    ]


def _counted(items: list[Item], names: list[str], label: str) -> list[int]:
    placed = collections.Counter((item.label, name) for item, name in zip(items, names))
    return [placed[label, name] for name in dataset.SPLITS]


@pytest.mark.parametrize("seed", range(20))
def test_large_groups_of_a_rare_class_get_their_own_shares(seed: int) -> None:
    items = _grouped(nok=[2] * 20, ok=[1] * 100)
    names = split(items, _unique(items), **SHARES, seed=seed)
    assert _counted(items, names, "nok") == [24, 6, 10]
    assert _counted(items, names, "ok") == [60, 15, 25]


def test_every_class_comes_as_close_to_its_shares_as_its_groups_allow() -> None:
    draw = random.Random(1)
    for _ in range(300):
        shares = draw.choice([(0.6, 0.15), (0.8, 0.1), (0.9, 0.05), (0.34, 0.33), (0.1, 0.1)])
        shape = {
            label: [draw.choice([1, 1, 1, 2, 3, 7, 20]) for _ in range(draw.randint(5, 60))]
            for label in ("ok", "nok")
        }
        items = _grouped(**shape)
        names = split(
            items,
            _unique(items),
            train_share=shares[0],
            validation_share=shares[1],
            seed=draw.randrange(1000),
        )
        for label, sizes in shape.items():
            wished = [share * sum(sizes) for share in (*shares, 1 - sum(shares))]
            for got, wish in zip(_counted(items, names, label), wished):
                assert got > 0
                assert abs(got - wish) <= max(sizes) + 1, (shape, shares)


@pytest.mark.parametrize("count", [3, 4, 5, 6, 7])
@pytest.mark.parametrize("shares", [(0.6, 0.15), (0.98, 0.01), (0.01, 0.01)])
def test_no_split_lacks_a_class_of_a_few_images(count: int, shares: tuple[float, float]) -> None:
    items = _grouped(nok=[1] * count, ok=[1] * 200)
    for seed in range(30):
        names = split(
            items, _unique(items), train_share=shares[0], validation_share=shares[1], seed=seed
        )
        assert min(_counted(items, names, "nok")) > 0


def test_groups_of_both_classes_leave_no_split_without_one_where_that_can_be() -> None:
    draw = random.Random(2)
    for _ in range(400):
        kinds = [draw.choice(["a", "b", "ab"]) for _ in range(draw.randint(3, 7))]
        can_be = any(
            all(
                len({place for kind, place in zip(kinds, places) if label in kind}) == 3
                for label in "ab"
            )
            for places in itertools.product(range(3), repeat=len(kinds))
        )
        items = [
            Item(path=f"{group} {label} {index}", label=label, stratum=label, group=f"{group}")
            for group, kind in enumerate(kinds)
            for label in kind
            for index in range(draw.choice([1, 1, 2, 5]))
        ]
        names = split(items, _unique(items), **SHARES, seed=draw.randrange(1000))
        if can_be:
            assert all(min(_counted(items, names, label)) > 0 for label in "ab"), kinds


def test_a_split_that_is_never_named_is_taken_from_train() -> None:
    named = {"train": 160, "test": 40}
    items = [
        Item(path=f"{name} {index}", label=f"{index % 2}", stratum=f"{index % 2}", split=name)
        for name, count in named.items()
        for index in range(count)
    ]
    names = split(items, _unique(items), **SHARES, seed=1)
    assert collections.Counter(names) == {"train": 128, "validation": 32, "test": 40}
    assert all(name == "test" for item, name in zip(items, names) if item.split == "test")
    assert _counted(items, names, "0") == _counted(items, names, "1") == [64, 16, 20]


def test_an_open_place_keeps_its_share_where_others_are_fixed() -> None:
    items = [
        Item(path=f"{index}", label="x", stratum="x", split="test" if index < 20 else None)
        for index in range(100)
    ]
    names = split(items, _unique(items), **SHARES, seed=1)
    assert collections.Counter(names) == {"train": 60, "validation": 15, "test": 25}
    assert set(names[:20]) == {"test"}


def test_the_folds_are_all_images_once_and_keep_groups_and_classes() -> None:
    items = [
        Item(path=f"{index}", label="ab"[index % 3 == 0], group=f"g{index // 2}", stratum="x")
        for index in range(60)
    ]
    content = [item.path for item in items]
    shares = {"train_share": 0.6, "validation_share": 0.15, "seed": 1}
    found = [split_by_fold(items, content, fold=fold, folds=5, **shares) for fold in range(1, 6)]
    tested = [[at for at, name in enumerate(names) if name == "test"] for names in found]
    assert sorted(at for one in tested for at in one) == list(range(60))
    for names in found:
        for name in ("train", "validation", "test"):
            labels = {item.label for item, where in zip(items, names) if where == name}
            assert labels == {"a", "b"}
        for first in range(0, 60, 2):
            assert names[first] == names[first + 1]  # one group
        # of the 48 that are left, four to one
        assert names.count("validation") in (9, 10, 11)
    assert split_by_fold(items, content, fold=2, folds=5, **shares) == found[1]


def test_folds_of_images_that_are_fixed_to_a_split_are_refused() -> None:
    items = [Item(path="a", label="x", split="test", stratum="x")]
    with pytest.raises(InputError, match=r"for --folds\. Received: a, which is fixed to test"):
        split_by_fold(items, ["a"], fold=1, folds=2, train_share=0.6, validation_share=0.2, seed=1)


def test_more_folds_than_a_class_can_fill_are_refused() -> None:
    items = [Item(path=f"{at}", label="ab"[at < 3], stratum="ab"[at < 3]) for at in range(40)]
    content = [item.path for item in items]
    shares = {"train_share": 0.6, "validation_share": 0.2, "seed": 1}
    with pytest.raises(InputError, match=r"4 folds, and 3 groups of b .*in 3 of them"):
        split_by_fold(items, content, fold=1, folds=4, **shares)
    assert "test" in split_by_fold(items, content, fold=1, folds=3, **shares)
