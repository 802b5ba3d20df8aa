"""Runs beside each other: all of a folder, and two of them in pairs."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from foundation.command_line import InputError
from tests.house.pages import plots, whole
from training import run
from training.comparing import comparison, listing
from training.decision import decision
from training.decision.decision import Band, Decision


@pytest.fixture
def runs(sample_run: Path, tmp_path: Path) -> Path:
    """The sample run as `first`, and as `second` with other settings and other answers."""
    folder = tmp_path / "runs"
    for name in ("first", "second"):
        shutil.copytree(sample_run.resolve(), folder / name)
        rename(folder / name, name)
    changed(folder / "second", seed=7, epochs=3)
    (folder / run.LATEST).symlink_to("second")
    return folder


def rename(folder: Path, name: str) -> None:
    settings = json.loads((folder / run.SETTINGS).read_text())
    settings["id"] = name
    if name == "second":
        settings["finished"] = "2999-01-01T00:00:00+00:00"
    (folder / run.SETTINGS).write_text(json.dumps(settings))


def changed(folder: Path, **config: object) -> None:
    settings = json.loads((folder / run.SETTINGS).read_text())
    settings["config"] |= config
    (folder / run.SETTINGS).write_text(json.dumps(settings))


def answer(folder: Path, change: Callable[[dict[str, str]], float | None]) -> None:
    """Gives images another probability, where the function has one."""
    path = folder / run.PREDICTIONS
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        value = change(row)
        if value is not None:
            row["model_probability"] = row["probability"] = str(value)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def always_right(row: dict[str, str]) -> float:
    return 0.9 if row["label"] == "defective" else 0.1


def test_all_runs_stand_beside_each_other_and_what_differs_is_named(
    runs: Path, command: Callable
) -> None:
    answer(runs / "second", always_right)
    done = command("training.comparing.runs", "--runs", runs.name, cwd=runs.parent)
    assert done.returncode == 0, done.stderr
    header, first, second = done.stdout.splitlines()
    assert header.split()[:2] == ["run", "validation"]
    assert first.startswith("second ")  # the newest
    assert first.rstrip().endswith("epochs=3 seed=7")
    assert second.startswith("first ")
    assert f"../{runs.name}/index.html" in (runs.parent / "build" / "index.html").read_text()
    page = whole(runs / "index.html", '<a href="first/report.html">', "<small>the latest</small>")
    assert plots(page) == 1

    done = command("training.comparing.runs", "--runs", str(runs), "--json", "--by", "accuracy")
    rows = json.loads(done.stdout)["runs"]
    assert [row["run"] for row in rows] == ["second", "first"]
    assert [row["latest"] for row in rows] == [True, False]
    assert rows[0]["metrics"]["test"]["accuracy"] == 1
    assert rows[1]["metrics"]["test"] == {
        name: value
        for name, value in json.loads(json.dumps(run.load(runs / "first").metrics()))[
            "test"
        ].items()
        if name in rows[1]["metrics"]["test"]
    }
    assert rows[0]["settings"]["seed"] == 7
    assert "cache_memory_mb" not in rows[0]["settings"]


def test_runs_of_other_classes_or_images_differ_in_these(runs: Path) -> None:
    settings = json.loads((runs / "first" / run.SETTINGS).read_text())
    settings["data"]["fingerprint"] = "0123456789abcdef"
    (runs / "first" / run.SETTINGS).write_text(json.dumps(settings))
    differing = listing.collect(runs).differing()
    assert differing["images"][1] == "0123456789ab" != differing["images"][0]
    assert "classes" not in differing


def test_a_broken_run_is_named_and_hides_no_other(runs: Path) -> None:
    (runs / "first" / decision.FILE).write_text("{")
    (runs / "third").mkdir()  # no run at all
    found = listing.collect(runs)
    assert [row.run for row in found.rows] == ["second"]
    assert list(found.broken) == ["first"]
    assert "make decide" in found.broken["first"]
    assert found.differing() == {}
    shutil.rmtree(runs / "second")
    with pytest.raises(InputError, match=r"Received: none; first: .* Train first: make train"):
        listing.collect(runs)
    with pytest.raises(InputError, match="which is none"):
        listing.collect(runs / "elsewhere")


def test_the_better_of_two_runs_is_shown_on_the_images_of_both_tests(
    runs: Path, command: Callable, tmp_path: Path
) -> None:
    for name, change in (("second", always_right), ("first", lambda _: 0.3)):
        answer(runs / name, change)
        decision.write(runs / name, Decision(review=Band(0.4, 0.6)))
    done = command(
        "training.comparing.compare",
        str(runs / "first"),
        "second",
        "--runs",
        str(runs),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    count = sum(row.split == "test" for row in run.load(runs / "first").predictions())
    assert f"second against first, on {count} images of both tests" in done.stderr
    assert "differs in seed: 1, 7" in done.stderr
    assert "balanced_accuracy: 1.0000 against 0.5000" in done.stderr
    assert done.stderr.count("second is better") == 3
    found = json.loads((tmp_path / "build/compare-runs.json").read_text())
    assert found["figures"]["roc_auc"]["difference"] == pytest.approx(0.5)
    assert found["only_right"][0] == 0
    assert len(found["disagreements"]) == found["only_right"][1]
    page = whole(tmp_path / "build/compare-runs.html", "second is better", "Where they disagree")
    assert plots(page) == 1


def test_equal_runs_show_no_difference_and_what_cannot_be_compared_says_why(runs: Path) -> None:
    first, second = (run.load(runs / name) for name in ("first", "second"))
    found = comparison.compare(first, second)
    assert {found.outcome(name) for name in found.figures} == {comparison.NO_DIFFERENCE}
    assert found.settings == {"epochs": (first.config.epochs, 3), "seed": (1, 7)}
    assert found.same_data
    with pytest.raises(InputError, match="Received: first twice"):
        comparison.compare(first, first)
    renamed = second.settings | {"classes": ["sound", "broken"]}
    other = run.Run(path=second.path, config=second.config, settings=renamed)
    with pytest.raises(InputError, match=r"same classes. Received: sound \| defective of first"):
        comparison.compare(first, other)


def test_images_of_one_test_alone_are_left_out_by_count(runs: Path) -> None:
    path = runs / "second" / run.SPLIT
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    tested = [row for row in rows if row["split"] == "test"]
    for row in tested[:3]:
        row["pixels_sha256"] = "other pixels " + row["path"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    found = comparison.compare(run.load(runs / "first"), run.load(runs / "second"))
    assert found.images == len(tested) - 3
    assert found.left_out == {"in the test of first alone": 3, "in the test of second alone": 3}
    for row in rows:
        row["pixels_sha256"] = "other pixels " + row["path"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(InputError, match=r"Received: 0 of sound; left out: .*same seed and shares"):
        comparison.compare(run.load(runs / "first"), run.load(runs / "second"))
