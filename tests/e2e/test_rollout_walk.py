"""From version 1 to 2 and back, as docs/rollout.md walks: the gate, a trial, its verdict.

Real pictures, real versions and a real server; every step is a command with a person's flags. What
each prints is held against the page.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from export.gate import __main__ as gate
from loadtest import replay
from serving.rollout import __main__ as rollout_command
from serving.rollout.experiment import __main__ as experiment
from tests.e2e import shown
from tests.e2e.launching import ROOT, first_config, quickly_serving
from tests.integration.loadtest import commands
from tfs_client import Client, ImageClassifier

PAGE = "docs/rollout.md"

PLAN = {
    "experiment": "walk",
    "weights": {"stable": 50, "canary": 50},
    "baseline": 0.8,
    "smallest_difference": 0.1,
}


@pytest.fixture(scope="module")
def folder(store: Path, sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a second version that equals the first, a models.config and a plan."""
    place = tmp_path_factory.mktemp("walk")
    shutil.copytree(store, place / "models")
    model = place / "models" / "image_classifier"
    shutil.copytree(model / "1", model / "2")
    first_config(place)
    (place / "plan.json").write_text(json.dumps(PLAN))
    return place


@pytest.fixture(scope="module")
def target(folder: Path) -> Iterator[str]:
    with quickly_serving(folder) as (grpc_address, _, _):
        yield grpc_address


@pytest.mark.thorough
def test_a_version_is_gated_tried_judged_promoted_and_rolled_back(
    folder: Path, target: str, sample_run: Path
) -> None:
    models, config = ("--models", str(folder / "models")), str(folder / "models.config")

    def rollout(verb: str, *flags: str) -> tuple[int, str]:
        where = ("--config", config, "--target", target)
        done = commands.run(rollout_command.main, *verb.split(), *where, *flags, folder=ROOT)
        return done.code, done.out + done.told

    code, told = rollout("canary 2", *models)
    assert code == 2, told
    assert 'make gate VERSION=2 ARGS="--against 1"' in told

    runs = ("--runs", str(sample_run.parent))
    # Fifty pictures cannot show a difference as small as the usual margin.
    wide = ("--margin", "0.15")
    done = commands.run(gate.main, "2", "--against", "1", *models, *runs, *wide, folder=ROOT)
    assert done.code == 0, done.told
    # So few images may show nothing better than guessing; the page's run has more of them.
    told = done.told.replace("passed, though not shown to be better than guessing", "passed")
    assert shown.missing(PAGE, "make gate", done.out.replace(f"{folder}/", "") + told) == []
    assert (folder / "models/image_classifier/2/assets.extra/gate.html").is_file()

    code, told = rollout("canary 2", *models)
    assert code == 0, told
    assert shown.missing(PAGE, 'make rollout ARGS="canary 2"', told) == []

    replayed = ("--target", target, "--run", str(sample_run), "--experiment", "walk")
    passes = ("--passes", "2", "--build", str(folder))
    done = commands.run(replay.main, *replayed, *passes, folder=ROOT)
    assert done.code == 0, done.told
    records = ["--exposures", str(folder / "walk/exposures.jsonl")]
    records += ["--outcomes", str(folder / "walk/outcomes.csv")]
    verdict = ("verdict", str(folder / "plan.json"), *records, "--json")
    page = ("--page", str(folder / "experiment.html"))
    done = commands.run(experiment.main, *verdict[:-1], *page, folder=ROOT)
    command = ".venv/bin/python -m serving.rollout.experiment verdict"
    # The same rows; fifty pictures are too few for the page's intervals.
    rows = [line.split()[0] for line in shown.lines_after(PAGE, command)]
    assert [line.split()[0] for line in done.out.splitlines() if line.strip()] == rows
    done = commands.run(experiment.main, *verdict, *page, folder=ROOT)
    assert done.code == 0, done.told
    found = json.loads(done.out)
    assert found["kind"] == "keep_going"
    images = (sample_run / "predictions.csv").read_text().count(",test,")
    assert found["counts"]["exposures"] == found["counts"]["outcomes"] == 2 * images
    assert [side["versions"] for side in found["sides"]] == [[1], [2]]

    code, told = rollout("promote", "--if-better", str(folder / "plan.json"), *records)
    assert code == 2
    assert shown.missing(PAGE, 'make rollout ARGS="promote --if-better', told) == []

    code, told = rollout("promote", "--why", "a walk")
    assert code == 0, told
    assert shown.missing(PAGE, 'make rollout ARGS="promote --why', told) == []
    with Client(target) as client:
        picture = next((sample_run / "samples").iterdir())
        assert ImageClassifier(client).predict(picture).model_version == 2
        code, told = rollout("rollback")
        assert code == 0, told
        assert shown.missing(PAGE, "make rollout ARGS=rollback", told) == []
        assert ImageClassifier(client).predict(picture).model_version == 1

    told = commands.run(rollout_command.main, "history", "--config", config, folder=ROOT).out
    assert [line.split()[2] for line in told.splitlines()[1:]] == ["canary", "promote", "rollback"]
    assert "gate: passed" in told
