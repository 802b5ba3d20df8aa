"""Another decision about a run, and what a server makes of it: nothing is trained for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from export import verify, versions
from foundation.command_line import InputError
from tfs_client import contract
from training import run


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, sample_run: Path, store: Path) -> Path:
    """A folder with a run and its model store of its own."""
    folder = tmp_path_factory.mktemp("decided")
    shutil.copytree(sample_run, folder / "run")
    shutil.copytree(store, folder / "models")
    return folder


@pytest.fixture(scope="module")
def decided(own: Path, command: Callable) -> Path:
    """The version after `make decide` and `make export`."""
    weights = (own / "run" / "model.weights.h5").stat().st_mtime_ns
    done = command("training.decide", "fpr<=0.4", "--run", str(own / "run"), "--review", "0.3")
    assert done.returncode == 0, done.stderr
    assert "false alarms" in done.stderr
    assert done.stdout.strip() == str(own / "run")
    assert (own / "run" / "model.weights.h5").stat().st_mtime_ns == weights
    exported = _export(own, command)
    assert exported.endswith("/2")
    return Path(exported)


def _export(own: Path, command: Callable) -> str:
    flags = ("--run", str(own / "run"), "--models", str(own / "models"), "--if-new")
    done = command("export.saved_model", *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_graph_answers_as_it_was_decided(decided: Path, own: Path) -> None:
    made = run.load(own / "run")
    assert made.decision.target == "fpr<=0.4"
    rows = [row for row in made.predictions() if row.split == "validation"]
    loaded = verify.Loaded(decided)
    files = [made.file(row.path).read_bytes() for row in rows]
    answers = loaded.ask(contract.SIGNATURE_DEFAULT, files)
    assert [label.decode() for label in answers[contract.OUTPUT_LABEL]] == [
        row.predicted for row in rows
    ]
    assert answers[contract.OUTPUT_NEEDS_REVIEW].tolist() == [row.review for row in rows]
    assert np.mean([row.review for row in rows]) == pytest.approx(0.3, abs=0.02)
    np.testing.assert_allclose(
        answers[contract.OUTPUT_PROBABILITY], [row.probability for row in rows], atol=1e-5
    )


def test_the_card_tells_the_decision_and_the_run_its_price(decided: Path, own: Path) -> None:
    made = run.load(own / "run")
    card = versions.model_card(decided)
    assert card["decision"]["threshold"] == made.decision.threshold
    assert card["decision"]["target"] == "fpr<=0.4"
    assert card["metrics"] == json.loads((own / "run" / "metrics.json").read_text())
    assert card["metrics"]["validation"]["false_positive_rate"] <= 0.4
    page = (own / "run" / "report.html").read_text()
    assert "fpr&lt;=0.4" in page
    by_chance = card["metrics"]["test"]["calibration_error_by_chance"]
    assert f"19 in 20 below {by_chance['upper']:.3f}" in page


def test_the_same_decision_makes_no_further_version(
    decided: Path, own: Path, command: Callable
) -> None:
    assert _export(own, command) == str(decided)


def test_a_version_that_answers_otherwise_does_not_pass(decided: Path, own: Path) -> None:
    made = run.load(own / "run")
    with pytest.raises(InputError, match="the run's own answer to"):
        verify._check_same_decisions(
            {
                contract.OUTPUT_LABEL: np.array([name.encode() for name in made.class_names] * 40),
                contract.OUTPUT_NEEDS_REVIEW: np.zeros(80, bool),
            },
            made.predictions(),
            made,
        )


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("recall>=0.99",), "Expected 161 positives or more among the validation images"),
        (("never",), "Expected a target such as recall>=0.95"),
        (("",), "Expected a target such as recall>=0.95"),
        (
            (
                "balanced",
                "--confidence=--",
            ),
            "argument --confidence: expected one argument",
        ),
        (("balanced", "--confidence", "1"), "Expected --confidence to be 0.5 up to"),
        (("balanced", "--review", "nan"), "Expected --review to be 0 to 1. Received: nan"),
        (("balanced", "--run", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_decided_changes_nothing(
    own: Path, command: Callable, flags: tuple[str, ...], told: str
) -> None:
    before = (own / "run" / "decision.json").read_bytes()
    where = () if "--run" in flags else ("--run", str(own / "run"))
    done = command("training.decide", *flags, *where)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert (own / "run" / "decision.json").read_bytes() == before


def test_a_broken_decision_is_decided_anew(own: Path, command: Callable) -> None:
    written = own / "run" / "decision.json"
    before = json.loads(written.read_text())
    broken = [
        *({"threshold": 5}, {"threshold": -1}, {"threshold": 10**400}, {"threshold": "0.5"}),
        *({"review": {"low": 0.9, "high": 0.1}}, {"review": None}, {"target": "fpr<=1"}),
        *({"calibration": {"method": "zzz"}}, {"calibration": {"slope": 1e300}}),
        {"calibration": {"slope": True}},
    ]
    for change in broken:
        written.write_text(json.dumps(before | change))
        with pytest.raises(InputError, match="as it is written by: make decide"):
            run.load(own / "run").metrics()
    done = command("training.decide", "fpr<=0.9999999", "--run", str(own / "run"))
    assert done.returncode == 0, done.stderr
    assert "make export RUN=" in done.stderr
    assert run.load(own / "run").decision.target == "fpr<=0.9999999"  # not 1, which is no target
