"""Looks at every picture once before training: what is broken, and what stands there twice.

A picture is usable if the one decoder of this project (preprocessing.py beside this file) reads it,
because that is what the training pipeline and the served graph will do.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import logging
import os
import re
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf

from foundation import progress
from foundation.command_line import InputError, raise_if_interrupted
from training.data import oddities, preprocessing
from training.data.items import Dataset, Item, SetAside

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Odd:
    """A kind of pictures that are used and may not mean what they mean elsewhere."""

    what: str
    """see training/data/oddities.py"""
    count: int
    first: str
    """the path of the first one, and what is odd about it"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspection:
    """What is left of a dataset once the unusable files are set aside."""

    items: tuple[Item, ...]
    content: tuple[str, ...]
    """one key an item, of the decoded pixels: equal keys are the same picture in any format"""
    set_aside: tuple[SetAside, ...]
    odd: tuple[Odd, ...] = ()
    """one a kind, the most frequent first"""


def inspect(dataset: Dataset, *, max_pixels: int, max_broken_share: float) -> Inspection:
    """Decodes every file, sets aside what cannot be used, and warns of what is odd.

    Args:
        dataset: as found.
        max_pixels: largest height times width.
        max_broken_share: 0-1.

    Raises:
        InputError: more than max_broken_share of the files are set aside (those that were left out
            of the dataset count too), or a class has fewer than three images left, one for each
            split.
    """

    def look(item: Item) -> tuple[str | None, str | None, list[tuple[str, str]]]:
        try:
            content = dataset.file(item).read_bytes()
            pixels = preprocessing.decode(tf.constant(content), max_pixels).numpy()
        except (tf.errors.OpError, OSError) as error:
            return None, _reason(error), []
        key = hashlib.sha256(repr(pixels.shape).encode())
        key.update(pixels.tobytes())
        return key.hexdigest(), None, oddities.of(content, pixels)

    # Pillow's warnings (of broken Exif, say) are about what TensorFlow does not read.
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")
        looked = pool.map(look, dataset.items)
        count = len(dataset.items)
        seen = []
        for one in progress.tracked(looked, "looking at the pictures", total=count, unit="files"):
            raise_if_interrupted()
            seen.append(one)
        keys, reasons, found = zip(*seen)

    reasons = _with_contradictions(dataset.items, keys, reasons)
    set_aside = dataset.left_out + tuple(
        SetAside(path=item.path, label=item.label, reason=reason)
        for item, reason in zip(dataset.items, reasons)
        if reason
    )
    _check_share(set_aside, len(dataset.items) + len(dataset.left_out), max_broken_share)
    kept = [(item, key) for item, key, why in zip(dataset.items, keys, reasons) if not why]
    _check_classes(dataset, [item for item, _ in kept])
    odd = _odd(dataset.items, found)
    for kind in odd:
        logger.warning("%d %s; the first: %s", kind.count, kind.what, kind.first)
    return Inspection(
        items=tuple(item for item, _ in kept),
        content=tuple(key for _, key in kept),
        set_aside=set_aside,
        odd=odd,
    )


def _odd(items: Sequence[Item], found: Sequence[list[tuple[str, str]]]) -> tuple[Odd, ...]:
    counts: collections.Counter[str] = collections.Counter()
    first: dict[str, str] = {}
    for item, kinds in zip(items, found):
        for what, detail in kinds:
            counts[what] += 1
            first.setdefault(what, f"{item.path} ({detail})")
    return tuple(
        Odd(what=what, count=count, first=first[what]) for what, count in counts.most_common()
    )


def _reason(error: Exception) -> str:
    """TensorFlow's error in one line: what stands before the names of graph nodes."""
    lines = [line for line in str(getattr(error, "message", error)).splitlines() if line.strip()]
    nodes = [index for index, line in enumerate(lines) if "[[{{node" in line]
    text = lines[nodes[0] - 1] if nodes and nodes[0] else lines[0]
    text = re.sub(r"\{\{.*?\}\} ?", "", text)
    assertion = re.match(r"assertion failed: \[(.*?)\](.*)", text)
    return (assertion[1] + assertion[2] if assertion else f"cannot be decoded: {text}").strip()


def _with_contradictions(
    items: Sequence[Item], keys: Sequence[str | None], reasons: Sequence[str | None]
) -> list[str | None]:
    """Adds a reason for pictures that stand there with both labels: nobody can learn from them."""
    labels = collections.defaultdict(set)
    for item, key in zip(items, keys):
        labels[key].add(item.label)
    return [
        reason
        or (
            f"the same picture is labelled {' and '.join(sorted(both))}"
            if key and len(both) > 1
            else None
        )
        for reason, key in zip(reasons, keys)
        for both in [labels[key]]
    ]


def _check_share(set_aside: Sequence[SetAside], count: int, max_broken_share: float) -> None:
    if len(set_aside) > max_broken_share * count:
        first = "; ".join(f"{file.path}: {file.reason}" for file in set_aside[:3])
        raise InputError(
            f"Expected at most {max_broken_share:.1%} unusable files. Received: {len(set_aside)} "
            f"of {count} ({first}{'; ...' if len(set_aside) > 3 else ''}). Mend or remove them, "
            "or allow more with --max-broken-share."
        )


def _check_classes(dataset: Dataset, items: Sequence[Item]) -> None:
    counts = collections.Counter(item.label for item in items)
    for label in dataset.class_names:
        if counts[label] < 3:
            raise InputError(
                f"Expected at least 3 usable images of each class, one for each split. Received: "
                f"{counts[label]} of {label}. Add images."
            )
