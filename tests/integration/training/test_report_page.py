"""A run's page in a real browser: the slider of the threshold, the filter of the mistakes."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests import browser
from tests.browser import Page
from training import run

# A real browser, and a run that is decided anew.
pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def made(sample_run: Path, tmp_path_factory: pytest.TempPathFactory, command: Callable) -> run.Run:
    """The sample run, once it was decided so that it makes many mistakes."""
    browser.program()
    copy = shutil.copytree(sample_run, tmp_path_factory.mktemp("runs") / "run")
    done = command("training.decide", "threshold=0.1", "--run", str(copy))
    assert done.returncode == 0, done.stderr
    return run.load(copy)


@pytest.fixture(scope="module")
def wrong(made: run.Run) -> list[run.Prediction]:
    rows = made.predictions()
    return [row for row in rows if row.split == "test" and row.label != row.predicted]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser.page(tmp_path_factory.mktemp("browser")) as page:
        page.look(width=390)
        yield page


@pytest.fixture
def page(started: Page, made: run.Run) -> Iterator[Page]:
    """The run's page, just opened; nothing in it is complained about."""
    started.events.clear()
    started.open((made.path / run.REPORT).as_uri())
    yield started
    assert started.complaints() == []


TEXT = 'document.querySelector("{}").innerText'

MOVE = """(() => {{
    const slider = document.querySelector(".prices input");
    slider.value = {place};
    slider.dispatchEvent(new Event("input"));
    return [...document.querySelectorAll(".prices [data-split=test]")].map(cell => cell.innerText);
}})()"""


def test_the_slider_says_what_each_threshold_costs_on_the_test_images(
    page: Page, made: run.Run
) -> None:
    rows = [row for row in made.predictions() if row.split == "test"]
    scores = np.array([row.probability for row in rows], np.float32)
    true = np.array([row.label == made.class_names[1] for row in rows])
    most = int(page.value('document.querySelector(".prices input").max'))
    for place in (0, most // 3, most):
        told = page.value(MOVE.format(place=place))
        threshold = page.value(TEXT.format(".prices output"))
        said = scores >= np.float32(threshold)
        found, false = int((said & true).sum()), int((said & ~true).sum())
        recall, alarms = found / true.sum(), false / (~true).sum()
        assert told == [
            f"{recall:.3f}",
            f"{found / (found + false):.3f}" if found + false else "\N{EN DASH}",
            f"{alarms:.3f}",
            f"{(recall + 1 - alarms) / 2:.3f}",
            f"{said.sum()} of {len(rows)}",
        ]
        command = page.value(TEXT.format(".prices p:last-of-type"))
        assert command.startswith(f'make decide TARGET="threshold={threshold}" RUN=')


SHOWN = (
    """[...document.querySelectorAll(".mistakes figure:not([hidden]) a")].map(one => one.href)"""
)


def test_mistakes_are_the_surest_ones_until_all_are_asked_for_and_lead_to_their_files(
    page: Page, made: run.Run
) -> None:
    wrong = [
        row for row in made.predictions() if row.split == "test" and row.label != row.predicted
    ]
    assert len(wrong) > 12
    assert len(page.value(SHOWN)) == 12
    page.click(".more button")
    shown = page.value(SHOWN)
    assert sorted(shown) == sorted(made.file(row.path).as_uri() for row in wrong)
    assert page.value('document.querySelector(".more").hidden') is True


def test_mistakes_are_filtered_by_kind_path_and_column(
    page: Page, made: run.Run, wrong: list[run.Prediction]
) -> None:
    wrong = [
        row for row in made.predictions() if row.split == "test" and row.label != row.predicted
    ]
    kind = f"is {wrong[0].label}, said {wrong[0].predicted}"
    cell_type = made.columns()[wrong[0].path]["cell_type"]
    for wanted, words, fits in (
        (kind, "", lambda row: row.label == wrong[0].label),
        ("", f"type {cell_type}", lambda row: made.columns()[row.path]["cell_type"] == cell_type),
        ("", wrong[0].path.upper(), lambda row: row.path == wrong[0].path),
        ("", "nothing is called so", lambda row: False),
    ):
        page.value(
            f"""(() => {{
                document.querySelector(".filter select").value = {json.dumps(wanted)};
                document.querySelector(".filter input").value = {json.dumps(words)};
                document.querySelector(".filter").dispatchEvent(new Event("input"));
            }})()"""
        )
        count = len([row for row in wrong if fits(row)])
        assert page.value(TEXT.format(".filter output")) == f"{min(count, 12)} of {count} shown"
        assert len(page.value(SHOWN)) == min(count, 12)


def test_the_table_of_predictions_has_a_column_for_all_that_is_known(made: run.Run) -> None:
    table = made.table()
    with (made.path / run.PREDICTIONS).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {len(column) for column in table.values()} == {len(rows)}
    for name in ("path", "split", "label", "predicted"):
        assert table[name].tolist() == [row[name] for row in rows]
    assert table["review"].tolist() == [row["review"] == "True" for row in rows]
    assert table["right"].tolist() == [row["label"] == row["predicted"] for row in rows]
    scores = table["score of sound"] + table["score of defective"]
    np.testing.assert_allclose(scores, 1, atol=1e-6)
    assert set(table["cell_type"]) == {"mono", "poly"}
