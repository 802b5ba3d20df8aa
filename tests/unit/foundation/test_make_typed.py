"""What is typed after `make`: goals and variables that nothing would take are refused."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from foundation.make import typed

ROOT = Path(__file__).resolve().parents[3]


def _make(*words: str, folder: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """What make would do; without the variables of a make that runs these tests."""
    return subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "--old-file=.venv/complete", *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "EPOCHS=3"], 'of the command go into ARGS, such as ARGS="--epochs 3"'),
        (["train", "data=x"], "or ARGS with `make train`. Received: data=x. Did you mean DATA?"),
        (["train", "DATA:=x", "RSUME=1"], "Received: RSUME=1. Did you mean RESUME?"),
        (["serve", "DATA=x"], "ARGS with `make serve`. Received: DATA=x, which is for make train"),
        (["train", "serve", "VERSION=2"], "which is for make gate and k8s-canary"),
        (["bench-loadtest", "TARGET=x"], "which is for make decide, replay, predict, "),
        (["EPOCHS=3"], "Expected no variable with `make`. Received: EPOCHS=3"),
        (["clean", "DATA=x"], "Expected no variable with `make clean`. Received: DATA=x, which "),
        (["train", "exprot"], "a target of `make help`. Received: exprot. Did you mean export?"),
        (["rollout", "rollback"], 'Here it is make rollout ARGS="rollback", in a cluster'),
        (["canary", "2"], 'make rollout ARGS="canary 2", in a cluster make k8s-canary'),
        (["rollout", "history"], 'go into ARGS: make rollout ARGS="history"'),
        (["serve", "DATA=x"], 'make train, evaluate and sweep. Flags of the command go into ARGS'),
        (["train", "DATA="], "Expected a value for DATA. Received: DATA= without one."),
        (["gate", "VERSION= "], "Expected a value for VERSION."),
        (["export", "RUN="], "Expected a value for RUN."),
        (["export", "AGAIN=yes"], "Expected AGAIN=1, or 0. Received: AGAIN=yes"),
        (["train", "RESUME=true"], "Expected RESUME=1, or 0. Received: RESUME=true"),
        (["train", "DATA=a b", "-s", "DATA=c"], "DATA once. Received: DATA=a b and DATA=c"),
        (["-C", ".", "train", "DTA=\x1b[31m"], r"Received: DTA=\x1b[31m. Did you mean DATA?"),
    ],
)  # fmt: skip
def test_what_no_recipe_takes_is_refused_in_one_line_before_anything_runs(
    words: list[str], said: str
) -> None:
    done = _make(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert said in line


@pytest.mark.parametrize(
    ("words", "ran"),
    [
        (["train", "DATA=a b", "RESUME=1", "ARGS=--seed 3"], '--data "a b" --resume --seed 3'),
        (["train", "RESUME=0", "ARGS="], "training.train"),
        (["train", "DATA=a=b", "DATA=a=b"], '--data "a=b"'),
        (["export", "RUN=cnn-1"], 'export.saved_model --run "cnn-1" --if-new'),
        (["export", "AGAIN=1"], "export.saved_model"),
        (["gate", "RUN=runs/cnn-1"], 'export.gate --run "runs/cnn-1"'),
        (["parity", "RUN=cnn-1"], 'export.parity --run "cnn-1"'),
        (["train", "export", "serve", "DATA=x", "RUN=y"], 'training.train --data "x"'),
        (["check", "PYTHON=python3", "LOCK=requirements-gpu.lock"], "ruff check"),
        (["lock", "BIN=bin"], "bin/uv pip compile"),
        (["-j2", "-f", "Makefile", "predict", "SHELL=/bin/sh", "TARGET=h:1"], '--target "h:1"'),
        ([".venv/complete"], ""),
    ],
)  # fmt: skip
def test_what_some_recipe_takes_reaches_it(words: list[str], ran: str) -> None:
    done = _make(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert ran in " ".join(done.stdout.split())


def test_variables_of_the_environment_and_of_a_make_above_are_not_refused(tmp_path: Path) -> None:
    inherited = _make("train", EPOCHS="3", V="1", RESUME="yes")
    assert (inherited.returncode, inherited.stderr) == (0, "")
    assert "--resume" not in inherited.stdout
    (tmp_path / "Makefile").write_text(
        f"all:\n\t+$(MAKE) --directory {ROOT} train\n"  # "+": also in a dry run
    )
    below = _make("all", "V=1", "EPOCHS=3", folder=tmp_path)
    assert (below.returncode, below.stderr) == (0, "")
    assert "training.train" in below.stdout


def test_a_variable_is_taken_by_way_of_others_and_of_other_goals() -> None:
    makefile = typed.read(
        "A ?= 1\nB ?= 2\nC ?= 3\nTOOL := tool $(A)\n"
        "all: one\none: two # C\n\t$(TOOL) \\\n\t$(if $(B),b) two\ntwo:\n\t$(X) one\n"
    )
    assert makefile.taken(["all"]) == {"A", "B", "TOOL"}
    assert makefile.taken(["two"]) == makefile.taken(["three"]) == set()
