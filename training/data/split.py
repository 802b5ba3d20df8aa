"""Splits labelled images into training, validation and test sets.

Same images, same seed, same split, on any machine.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence

import numpy as np

from foundation.command_line import InputError
from training.data.dataset import SPLITS, Item


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
    Blocks are placed one by one, larger ones first and equal ones in random order, each where it
    brings the counts of every stratum, and the total, closest to the wished ones (least sum of
    squares). With blocks of one image this is the usual stratified split to the nearest whole
    image. A split fixed by the manifest fixes its whole block.

    (scikit-learn's StratifiedGroupKFold is not used: it knows no unequal shares, and refuses
    classes with fewer images than folds.)

    Args:
        items: N labelled images.
        content: N keys; equal keys mean identical pictures.
        train_share: 0-1.
        validation_share: 0-1; the rest is for test.
        seed: of the random order.

    Returns:
        N times "train", "validation" or "test".

    Raises:
        InputError: a block is fixed to two splits; names the items.
    """
    blocks = _blocks(items, content)
    strata = sorted({item.stratum for item in items})
    column = {stratum: index for index, stratum in enumerate(strata)}
    counts = np.zeros((len(blocks), len(strata) + 1))
    for row, block in enumerate(blocks):
        for index in block:
            counts[row, column[items[index].stratum]] += 1
        counts[row, -1] = len(block)
    shares = np.array([train_share, validation_share, 1 - train_share - validation_share])
    missing = shares[:, np.newaxis] * counts.sum(axis=0)

    result = [""] * len(items)
    order = np.random.default_rng(seed).permutation(len(blocks))
    fixed = [_fixed_split(items, block) for block in blocks]
    for row in sorted(order, key=lambda row: (fixed[row] is None, -counts[row, -1])):
        if fixed[row] is None:
            # |missing - counts|^2 - |missing|^2 for each split: least where most is missing.
            place = int(np.argmin(((counts[row] - 2 * missing) * counts[row]).sum(axis=1)))
        else:
            place = SPLITS.index(fixed[row])
        missing[place] -= counts[row]
        for index in blocks[row]:
            result[index] = SPLITS[place]
    return result


def _blocks(items: Sequence[Item], content: Sequence[str]) -> list[list[int]]:
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
