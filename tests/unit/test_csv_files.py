"""Every CSV file of ours that people open: no cell is a formula, and all is read back as it was."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest

from foundation import cells
from loadtest.results import samples
from loadtest.traffic import answers
from serving.rollout.experiment.lines import Lines
from tfs_client.cli import output
from training import publication, run
from training.config import RunConfig
from training.data import manifest
from training.decision import decision

NAMES = ("=cmd|'-C'!A0.png", "+1.png", "-a.png", "@sum.png", "'=a.png", "a'b.png")

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cells_of(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert not [cell for row in rows for cell in row if cell.startswith(FORMULA)]
    return rows


def a_run(folder: Path, names: tuple[str, ...] = ("-ok", "=x")) -> run.Run:
    return run.Run(
        path=folder,
        config=RunConfig(),
        settings={"id": "r", "classes": list(names), "config": {}},
    )


def test_predictions_are_read_back_by_the_run_and_by_the_load_test(tmp_path: Path) -> None:
    wanted = [
        run.Prediction(
            path=path,
            split="validation" if path == "=b" else "test",
            label="=x",
            model_scores=(float(1 - np.float32(said)), said),
            scores=(float(1 - np.float32(said)), said),
            probability=said,
            predicted=predicted,
            review=review,
        )
        for path, said, predicted, review in (
            *((f"a/{name}", 0.25, "-ok", False) for name in NAMES),
            ("=b", 2**-30, "-ok", False),
            ("@c", 0.5625, "=x", True),
        )
    ]
    publication.write_predictions(tmp_path, wanted, ("-ok", "=x"))
    assert len(cells_of(tmp_path / run.PREDICTIONS)) == 1 + len(wanted)
    assert a_run(tmp_path).predictions() == wanted
    known = answers.read_known(tmp_path / run.PREDICTIONS)
    assert known["=b"] == ("-ok", 2**-30)
    assert known["@c"] == ("=x", 0.5625)
    assert {known[f"a/{name}"] for name in NAMES} == {("-ok", 0.25)}


def test_predictions_of_many_classes_are_read_back(tmp_path: Path) -> None:
    names = ("-ok", "=x", "a,b")
    scores = (0.25, 0.625, 0.125)
    wanted = [
        run.Prediction(
            path="a",
            split="test",
            label="a,b",
            model_scores=scores,
            scores=scores,
            probability=0.625,
            predicted="=x",
            review=False,
        )
    ]
    wanted.append(dataclasses.replace(wanted[0], path="b", split="validation"))
    publication.write_predictions(tmp_path, wanted, names)
    decision.write(tmp_path, decision.TopDecision())
    made = a_run(tmp_path, names)
    assert made.predictions() == wanted
    assert made.targets(wanted).tolist() == [2, 2]
    assert answers.read_known(tmp_path / run.PREDICTIONS)["a"] == ("=x", 0.625)


@dataclasses.dataclass(frozen=True)
class Row:
    path: str
    label: str
    split: str
    group: str
    pixels_sha256: str


def test_a_split_is_read_back_by_the_gate_and_is_a_manifest(tmp_path: Path) -> None:
    wanted = [
        Row(name, ("=bad", "-ok")[at % 2], "train", "+g", "0") for at, name in enumerate(NAMES)
    ]
    columns = [field.name for field in dataclasses.fields(Row)]
    publication.write_table(tmp_path / run.SPLIT, wanted, columns)
    cells_of(tmp_path / run.SPLIT)
    assert a_run(tmp_path).split_rows() == [dataclasses.asdict(row) for row in wanted]
    for name in NAMES:
        (tmp_path / name).touch()
    found = manifest.read(tmp_path / run.SPLIT)
    assert {(item.path, item.label, item.group) for item in found} == {
        (row.path, row.label, "+g") for row in wanted
    }


def test_samples_of_a_load_test_are_read_back(tmp_path: Path) -> None:
    wanted = samples.Sample(
        start_s=1.0,
        latency_ms=2.0,
        name="=signature",
        code="-code",
        version=None,
        details="@server said",
        label="+label",
    )
    writer = samples.Writer(tmp_path / "samples.csv")
    writer.write(wanted)
    writer.close()
    cells_of(tmp_path / "samples.csv")
    assert samples.read(tmp_path / "samples.csv") == [wanted]


@pytest.mark.parametrize("cell", ["'=bad", "=bad"])
def test_outcomes_are_read_with_and_without_the_mark(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "outcomes.csv"
    path.write_text(f"request_id,truth\nr1,{cell}\n")
    lines = Lines("outcomes", [str(path)], columns=("request_id",), one_of=("truth",))
    assert list(lines) == [{"request_id": "r1", "truth": "=bad"}]


def test_the_client_writes_cells_as_we_do(capsys: pytest.CaptureFixture[str]) -> None:
    names = [*NAMES, "\uff1dfull.png", "plain", "''", "-0.5", ""]
    output.print_csv([[name] for name in names])
    lines = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert [cell for line in lines for cell in line or [""]] == [*map(cells.as_text, names)]
