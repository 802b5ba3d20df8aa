"""Making a dataset ready: its split is told, and one that cannot be has the right advice."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundation.command_line import InputError
from training.config import RunConfig
from training.data import prepared
from training.data.inspection import Inspection
from training.data.items import Dataset, Item


def _prepare(
    rows: list[tuple[str, str | None, str | None]], names: tuple[str, ...] = ("ok", "nok")
) -> prepared.PreparedData:
    """Of rows (label, group, split)."""
    items = tuple(
        Item(path=f"{index}", label=label, group=group, split=split, stratum=label)
        for index, (label, group, split) in enumerate(rows)
    )
    dataset = Dataset(
        source="rows",
        root=Path(),
        class_names=names,
        positive_by="by its name",
        items=items,
    )
    seen = Inspection(items=items, content=tuple(item.path for item in items), set_aside=())
    return prepared.prepare(dataset, seen, RunConfig())


OK = [("ok", None, None)] * 100


def test_the_counts_of_both_classes_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    made = _prepare(OK + [("nok", f"part {index // 2}", None) for index in range(40)])
    assert {name: len(items) for name, items in made.splits.items()} == {
        "train": 84, "validation": 21, "test": 35,
    }  # fmt: skip
    assert (
        "split: train=84 (60 ok, 24 nok), validation=21 (15 ok, 6 nok), test=35 (25 ok, 10 nok)"
        in caplog.text
    )


@pytest.mark.parametrize(
    ("nok", "message"),
    [
        (
            [("nok", f"part {index // 20}", None) for index in range(40)],
            r"no nok in validation; its 40 images form 2 groups, and one group, or the same "
            r"picture, is never torn apart\. Add images of nok from other groups, or divide the "
            r"groups: it takes 3\.",
        ),
        (
            [("nok", "part", None)] * 5,
            r"its 5 images form 1 group, and",
        ),
        (
            [("nok", None, "test")] * 5 + [("nok", None, "train")] * 5,
            r"no nok in validation; all 10 are fixed to test and train\. Fix some of them to "
            r"validation, or leave their split open\.",
        ),
        (
            [("nok", None, "test")] * 9 + [("nok", None, None)],
            r"no nok in validation; 9 of its 10 images are fixed, too few groups are left",
        ),
    ],
)
def test_a_class_that_a_split_lacks_is_named_with_the_reason_and_what_helps(
    nok: list, message: str
) -> None:
    with pytest.raises(InputError, match="every class in every split.*" + message):
        _prepare(OK + nok)


def test_a_label_that_is_misspelt_once_is_asked_about() -> None:
    rows = [*OK, *[("scratch", None, None)] * 40, ("scrach", None, None)]
    with pytest.raises(InputError, match=r"no scrach in .*Did you mean scratch\? Add images"):
        _prepare(rows, ("ok", "scrach", "scratch"))


def test_each_of_many_classes_is_in_every_split() -> None:
    names = tuple(f"class {place}" for place in range(300))
    made = _prepare([(name, None, None) for name in names for _ in range(4)], names)
    for items in made.splits.values():
        assert {item.label for item in items} == set(names)
