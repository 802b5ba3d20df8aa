"""What a sweep tries: grids and files of variants, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foundation.command_line import InputError
from training import config_flags
from training.sweeping import variants

ROOT = Path(__file__).resolve().parents[4]


def test_a_grid_is_every_combination() -> None:
    found = variants.of_grid(["learning_rate=0.001,0.004", "flip-horizontal=yes,no"])
    assert [(one.name, one.flags) for one in found] == [
        (
            f"learning_rate={rate}, flip_horizontal={flip}",
            (f"--learning-rate={rate}", flag),
        )
        for rate in ("0.001", "0.004")
        for flip, flag in (("yes", "--flip-horizontal"), ("no", "--no-flip-horizontal"))
    ]


@pytest.mark.parametrize(
    ("varied", "told"),
    [
        (["learning_rate"], "Expected --vary as in learning_rate=0.001,0.004"),
        (["=1"], "Name a setting and its values"),
        (["epochs=1,,2"], "Name a setting and its values"),
        (["epochs=1", "--epochs=2"], "each setting once"),
        ([f"epochs={','.join(map(str, range(1, 202)))}"], "at most 200 variants"),
    ],
)
def test_a_grid_that_cannot_be_is_one_line(varied: list[str], told: str) -> None:
    with pytest.raises(InputError) as error:
        variants.of_grid(varied)
    assert told in str(error.value)


def test_a_file_names_its_variants(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(
        json.dumps(
            [
                {"name": "big", "flags": "--epochs 4"},
                {"name": "small", "flags": "--epochs '2'", "teacher": "big", "why": "it is fast"},
            ]
        )
    )
    big, small = variants.of_file(path)
    assert (big.flags, big.teacher) == (("--epochs", "4"), None)
    assert (small.flags, small.teacher, small.why) == (("--epochs", "2"), "big", "it is fast")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "No such file"),
        ("[", "Expecting value"),
        ("{}", "Expected a list of 1 to 200 variants"),
        ("[]", "Expected a list of 1 to 200 variants"),
        ('[{"name": "a"}]', "variants with name and flags"),
        ('[{"name": "a", "flags": 7}]', "variants with name and flags"),
        ('[{"name": " ", "flags": ""}]', "variants with name and flags"),
        ('[{"name": "a", "flags": "", "x": ""}]', "variants with name and flags"),
        ('[{"name": "a", "flags": "\'"}]', "No closing quotation"),
        ('[{"name": "a", "flags": ""}, {"name": "a", "flags": ""}]', "each name once"),
        ('[{"name": "a", "flags": "", "teacher": "b"}, {"name": "b", "flags": ""}]', "before it"),
        ('[{"name": "a", "flags": "", "teacher": "a"}]', "Expected the teacher of a before it"),
    ],
)
def test_a_file_that_cannot_be_is_one_line(tmp_path: Path, content: str | None, told: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError) as error:
        variants.of_file(path)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("flag", ["--seed", "--runs=elsewhere", "--teacher", "--resume"])
def test_flags_that_a_sweep_sets_are_refused(flag: str) -> None:
    with pytest.raises(InputError, match="Expected flags of training"):
        config_flags.check("a sweep", ["--epochs", "3", flag], variants.OWN)


def test_the_projects_own_recipes_are_settings_of_training() -> None:
    for one in variants.of_file(ROOT / "training/recipes.json"):
        own = ["--backbone-weights", "a.pth"] if "--backbone" in one.flags else []
        taught = one.teacher is not None
        config_flags.check("a sweep", [*one.flags, *own], variants.OWN, taught=taught)
        assert one.why
