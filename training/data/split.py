"""Splits labelled images into training, validation and test sets.

Same images, same seed, same split, on any machine.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence

import numpy as np

from foundation.command_line import InputError
from training.data.items import SPLITS, Item


def split(
    items: Sequence[Item],
    content: Sequence[str],
    *,
    train_share: float,
    validation_share: float,
    seed: int,
) -> list[str]:
    """Gives each item a split, stratified, with groups and identical pictures kept together.

    Items that share a group or the same picture form one block, and a block goes into one split.
    Blocks are placed one by one: those of the rarest stratum first, of these the larger ones first,
    and equal ones in random order. Each goes where it brings its strata closest to the wished
    counts (least sum of squares, each stratum weighed by its size). What the strata before it left
    over decides only how it is rounded, by half an image at most, so that the total comes out too.
    With blocks of one image this is the usual stratified split to the nearest whole image.

    No split goes without a class as long as blocks of that class are left to give it one: a class
    of three blocks or more is in every split, whatever the seed and the shares.

    A split that the data fix for an item holds for its whole block. Where every item's split is
    fixed and one of the three is never named, as in a folder of train/ and test/ alone, that one
    gets its share of what is fixed to training.

    (scikit-learn's StratifiedGroupKFold is not used: it knows no unequal shares, and refuses
    classes with fewer images than folds.)

    Args:
        items: N labelled images of any number of classes.
        content: N keys; equal keys mean identical pictures.
        train_share: 0-1.
        validation_share: 0-1; the rest is for test.
        seed: of the random order.

    Returns:
        N times "train", "validation" or "test".

    Raises:
        InputError: a block is fixed to two splits; names the items.
    """
    together = blocks(items, content)
    shares = np.array([train_share, validation_share, 1 - train_share - validation_share])
    places = _placed(items, together, _choices(items, together), shares, seed)
    return [SPLITS[place] for place in places]


def split_by_fold(
    items: Sequence[Item],
    content: Sequence[str],
    *,
    fold: int,
    folds: int,
    train_share: float,
    validation_share: float,
    seed: int,
) -> list[str]:
    """As `split`, but the test set is one of so many parts, which together are all images.

    Args:
        items: N labelled images, none of them fixed to a split.
        content: N keys; equal keys mean identical pictures.
        fold: 1 to `folds`.
        folds: how many parts; the same images and seed give the same ones.
        train_share: 0-1; of the rest, in proportion with `validation_share`.
        validation_share: 0-1.
        seed: of the random order.

    Raises:
        InputError: a split is fixed, or a class has fewer groups than there are folds.
    """
    fixed = next((item for item in items if item.split), None)
    if fixed is not None:
        raise InputError(
            f"Expected images whose splits are open, for --folds. Received: {fixed.path}, which is "
            f"fixed to {fixed.split}. Give data without fixed splits."
        )
    together = blocks(items, content)
    everywhere = [tuple(range(folds))] * len(together)
    parts = _placed(items, together, everywhere, np.full(folds, 1 / folds), seed)
    _check_each_fold(items, together, parts, folds)
    rest = [index for index, part in enumerate(parts) if part != fold - 1]
    kept = [items[index] for index in rest]
    inner = blocks(kept, [content[index] for index in rest])
    shares = np.array([train_share, validation_share]) / (train_share + validation_share)
    result = ["test"] * len(items)
    places = _placed(kept, inner, [(0, 1)] * len(inner), shares, seed)
    for index, place in zip(rest, places):
        result[index] = SPLITS[place]
    return result


def _check_each_fold(
    items: Sequence[Item], together: Sequence[Sequence[int]], parts: Sequence[int], folds: int
) -> None:
    """Refuses more folds than some class can fill, before the first one is trained."""
    there = collections.defaultdict(set)
    for item, part in zip(items, parts):
        there[item.label].add(part)
    label, most = min(
        ((label, len(found)) for label, found in there.items()), key=lambda one: one[1]
    )
    if most < folds:
        groups = sum(any(items[index].label == label for index in block) for block in together)
        raise InputError(
            f"Expected images of every class in every fold. Received: {folds} folds, and {groups} "
            f"group{'s' * (groups != 1)} of {label} (one group, or the same picture, is never torn "
            f"apart), in {most} of them. Take fewer folds, or add images of {label}."
        )


def _placed(
    items: Sequence[Item],
    together: Sequence[Sequence[int]],
    choices: Sequence[tuple[int, ...]],
    shares: np.ndarray,
    seed: int,
) -> list[int]:
    """Where each item goes, by its block: N places, 0 to P-1.

    Args:
        items: N.
        together: the blocks, as indices of items.
        choices: the places that each block may go to.
        shares: float [P], of all items.
        seed: of the random order.
    """
    counts = _counts(items, together)
    sizes = counts.sum(axis=0)
    missing = _wished(counts, choices, shares)
    rarity = np.where(counts > 0, sizes, np.inf).min(axis=1)
    coverage = _Coverage([{items[index].label for index in block} for block in together], choices)

    result = [0] * len(items)
    unplaced = sizes.copy()
    order = np.random.default_rng(seed).permutation(len(together))
    for row in sorted(
        order, key=lambda row: (len(choices[row]) > 1, rarity[row], -counts[row].sum())
    ):
        left_over = missing[:, unplaced == 0].sum(axis=1, keepdims=True)
        wished = missing + left_over.clip(-0.5, 0.5)
        # |wished - counts|^2 - |wished|^2 for each split: least where most is missing.
        far = (((counts[row] - 2 * wished) * counts[row]) / sizes**2).sum(axis=1)
        # Rounded, because a draw between thirds must not be decided by the last binary digit.
        place = min(coverage.best(row, choices[row]), key=lambda place: round(far[place], 12))
        coverage.place(row, place)
        missing[place] -= counts[row]
        unplaced -= counts[row]
        for index in together[row]:
            result[index] = place
    return result


def open_splits(items: Sequence[Item]) -> tuple[str, ...]:
    """The splits that nothing is fixed to, where every item is fixed: they are taken from train."""
    fixed = {item.split for item in items}
    return () if None in fixed else tuple(name for name in SPLITS if name not in fixed)


def _choices(items: Sequence[Item], together: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """The splits that each block may go to, as indices of SPLITS."""
    from_train = open_splits(items)
    choices = []
    for block in together:
        fixed = _fixed_split(items, block)
        if fixed is None:
            names: Sequence[str] = SPLITS
        else:
            names = (fixed, *from_train) if fixed == "train" else (fixed,)
        choices.append(tuple(SPLITS.index(name) for name in names))
    return choices


def _counts(items: Sequence[Item], together: Sequence[Sequence[int]]) -> np.ndarray:
    """How many images of each stratum each block has: float [blocks, strata]."""
    strata = sorted({item.stratum for item in items})
    column = {stratum: index for index, stratum in enumerate(strata)}
    counts = np.zeros((len(together), len(strata)))
    for row, block in enumerate(together):
        for index in block:
            counts[row, column[items[index].stratum]] += 1
    return counts


def _wished(
    counts: np.ndarray, choices: Sequence[tuple[int, ...]], shares: np.ndarray
) -> np.ndarray:
    """How many images of each stratum each place should get: float [P, strata]."""
    if any(len(places) == len(shares) for places in choices):
        return shares[:, np.newaxis] * counts.sum(axis=0)  # what is free fills up what is fixed
    wished = np.zeros((len(shares), counts.shape[1]))
    for count, places in zip(counts, choices):
        wished[list(places)] += np.outer(shares[list(places)] / shares[list(places)].sum(), count)
    return wished


class _Coverage:
    """Sees to it that no split goes without a class that could be there.

    Args:
        labels: of each block; one, or several where the images of a group are of several classes.
        choices: the splits that each block may go to.
    """

    def __init__(self, labels: Sequence[set[str]], choices: Sequence[Sequence[int]]) -> None:
        self._labels = labels
        self._blocks_left = collections.Counter(label for of_block in labels for label in of_block)
        self._left = collections.Counter(frozenset(of_block) for of_block in labels)
        self._lacking: dict[str, set[int]] = {label: set() for label in set().union(*labels)}
        for of_block, places in zip(labels, choices):
            for label in of_block:
                self._lacking[label].update(places)

    def best(self, row: int, choices: Sequence[int]) -> list[int]:
        """Those of the choices after which the fewest classes must be missing somewhere."""
        if not any(self._lacking.values()):
            return list(choices)
        self._take(row)
        lost = {place: self._lost(row, place) for place in choices}
        self._take(row, -1)
        return [place for place in choices if lost[place] == min(lost.values())]

    def place(self, row: int, place: int) -> None:
        """Takes note of where a block went."""
        self._take(row)
        for label in self._labels[row]:
            self._lacking[label].discard(place)

    def _take(self, row: int, count: int = 1) -> None:
        self._left[frozenset(self._labels[row])] -= count
        for label in self._labels[row]:
            self._blocks_left[label] -= count

    def _lost(self, row: int, place: int) -> int:
        """How often a class will be missing in a split, at best, if the block goes there."""
        if len(self._lacking) > 2:
            # What the classes of other blocks lose is the same for every place.
            return sum(
                max(0, len(self._lacking[label] - {place}) - self._blocks_left[label])
                for label in self._labels[row]
            )
        lacking = {
            label: splits - {place} if label in self._labels[row] else splits
            for label, splits in self._lacking.items()
        }
        mixed = sum(left for labels, left in self._left.items() if len(labels) > 1)
        # A block of both classes is worth most where both are missing.
        served = min(mixed, len(set.intersection(*lacking.values())))
        lost = sum(
            max(0, len(splits) - served - self._left[frozenset({label})])
            for label, splits in lacking.items()
        )
        return max(0, lost - (mixed - served))


def blocks(items: Sequence[Item], content: Sequence[str]) -> list[list[int]]:
    """Connects items that share a group or a content; returns the connected index lists."""
    parent = list(range(len(items)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, (item, key) in enumerate(zip(items, content)):
        for name in (("content", key), ("group", item.group)):
            if name[1] is not None:
                parent[root(index)] = root(first.setdefault(name, index))
    blocks = collections.defaultdict(list)
    for index in range(len(items)):
        blocks[root(index)].append(index)
    return [blocks[key] for key in sorted(blocks)]


def _fixed_split(items: Sequence[Item], block: Sequence[int]) -> str | None:
    named = {items[index].split for index in block} - {None}
    if len(named) > 1:
        first, second = (
            next(items[index].path for index in block if items[index].split == name)
            for name in sorted(named)[:2]
        )
        raise InputError(
            f"Expected images of one group, and identical images, in one split. Received: {first} "
            f"and {second} in {' and '.join(sorted(named))}. Give them the same split."
        )
    return named.pop() if named else None
