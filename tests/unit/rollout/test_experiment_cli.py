"""`python -m serving.rollout.experiment`: what it prints, writes and refuses."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from serving.rollout.experiment import __main__ as cli
from tests.house.pages import plots, whole
from tfs_client import ExposureLog, Router
from tfs_client.routing.exposures import Exposure

START_S = 1.7e9
WRONG = {"sound": "defective", "defective": "sound"}


class Files(NamedTuple):
    """An experiment on disk."""

    plan: str
    exposures: str
    outcomes: str
    page: Path

    def verdict(self, *more: str) -> list[str]:
        """The command's arguments."""
        files = ["--exposures", self.exposures, "--outcomes", self.outcomes]
        return ["verdict", self.plan, *files, "--page", str(self.page), *more]


def _made(folder: Path, right: dict[str, float], *, broken: bool = False) -> Files:
    """1,500 requests of 500 users through a real router and its log."""
    drawn = random.Random(3)
    outcomes = []
    with ExposureLog(folder / "exposures.jsonl") as log:
        router = Router({"stable": 70, "canary": 30}, experiment="new", on_exposure=log)
        for at in range(1_500):
            dealt = router.assign(f"user {at % 500}")
            truth = drawn.choice(("sound", "defective"))
            is_right = drawn.random() < right[dealt.label]
            fails = broken and dealt.label == "canary"
            router.expose(
                Exposure(
                    experiment=dealt.experiment,
                    unit=dealt.unit,
                    label=dealt.label,
                    answered_by="" if fails else f"image_classifier/labels/{dealt.label}",
                    model="image_classifier",
                    version=1,
                    request_id=f"order-{at}",
                    time_s=START_S + 60 * at,
                    latency_s=drawn.lognormvariate(-4, 0.5),
                    error="UnavailableError" if fails else "",
                    needs_review=None if fails else drawn.random() < 0.1,
                    predicted="" if fails else truth if is_right else WRONG[truth],
                    probability=None,
                )
            )
            outcomes.append(f"order-{at},{truth}\n")
    (folder / "outcomes.csv").write_text("request_id,truth\n" + "".join(outcomes), encoding="utf-8")
    plan = {
        "experiment": "new",
        "weights": {"stable": 70, "canary": 30},
        "baseline": 0.7,
        "smallest_difference": 0.1,
    }
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    names = ("plan.json", "exposures*.jsonl", "outcomes.csv")
    return Files(*(str(folder / name) for name in names), page=folder / "out" / "experiment.html")


@pytest.mark.slow
def test_verdict_prints_a_table_and_last_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = _made(tmp_path, {"stable": 0.7, "canary": 0.9})
    with (tmp_path / "exposures.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"experiment": "new", "un')
    assert cli.main(files.verdict()) == 0
    out, talk = capsys.readouterr()
    lines = out.splitlines()
    assert lines[-1].startswith("canary is better than stable since 2023-11-1")
    assert lines[0].split() == [
        "version",
        "units",
        "exposures",
        "outcomes",
        "right",
        "latency",
        "ms",
    ]
    assert lines[1].split()[:2] == ["stable", "1"]
    assert sum(int(line.split()[3].replace(",", "")) for line in lines[1:3]) == 1_500
    for word in ("difference  +", "errors", "sent to review", "slow answers", "Bayes factor"):
        assert word in out
    assert next(line for line in lines if line.startswith("exposure lines s")).endswith(" 1")
    assert "experiment.html" in talk
    assert "experiment.html" not in out


@pytest.mark.slow
def test_verdict_leaves_a_page_that_needs_nothing_beside_it_and_figures(tmp_path: Path) -> None:
    files = _made(tmp_path, {"stable": 0.7, "canary": 0.9})
    assert cli.main(files.verdict()) == 0
    page = whole(files.page)
    assert plots(page) == 3
    for word in (
        "Experiment new: better",
        "exposure lines skipped",
        "smallest difference",
        "No mismatch shown.",
        "no harm shown (could be up to",
        ">better after ",
        ">smallest difference that matters</text>",
    ):
        assert word in page
    figures = json.loads((files.page.parent / "experiment.json").read_text(encoding="utf-8"))
    values = {row["name"]: row["value"] for row in figures["results"]}
    assert figures["name"] == "experiment"
    assert figures["command"].startswith("python -m serving.rollout.experiment verdict ")
    assert values["verdict"] == "better"
    assert values["difference.lower"] > 0
    assert values["count.exposures"] == values["count.outcomes"] == 1_500
    assert values["guardrail.errors.broken"] is False


@pytest.mark.slow
def test_verdict_as_json_is_nothing_but_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = _made(tmp_path, {"stable": 0.7, "canary": 0.7}, broken=True)
    assert cli.main(files.verdict("--json")) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["kind"] == "guardrail_broken"
    assert verdict["reason"].startswith("Roll canary back: errors 100.00 %")
    assert verdict["guardrails"][0]["broken"]["exposures"] < 400
    page = whole(files.page)
    assert "broken since" in page
    assert ">broken after " in page


@pytest.mark.slow
def test_verdict_can_be_asked_what_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = _made(tmp_path, {"stable": 0.7, "canary": 0.9})
    assert cli.main(files.verdict("--json", "--now-s", str(START_S + 3600))) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["kind"] == "keep_going"
    assert verdict["after_now"] == 2 * (1_500 - 61)


@pytest.mark.slow
def test_verdict_makes_its_page_before_anything_is_known(tmp_path: Path) -> None:
    files = _made(tmp_path, {"stable": 0.7, "canary": 0.9})
    Path(files.outcomes).write_text("request_id,truth\n", encoding="utf-8")
    assert cli.main(files.verdict("--now-s", str(START_S - 1))) == 0
    page = whole(files.page)
    assert "No outcome is known yet." in page
    assert "<svg" not in page


def test_plan_shows_the_fixed_size_beside_the_sequential_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = _made(tmp_path, {"stable": 0.7, "canary": 0.9})
    assert cli.main(["plan", files.plan, "--experiments", "200"]) == 0
    lines = capsys.readouterr().out.splitlines()
    fixed = next(line for line in lines if line.startswith("one test at the end"))
    control, treatment, both = (int(one.replace(",", "")) for one in fixed.split()[-3:])
    assert control + treatment == both
    assert treatment == pytest.approx(0.3 * both, abs=1)
    rows = {line.split(":")[1].split()[0]: line for line in lines if line.startswith("a look")}
    values = [int(rows[name].split()[-1].replace(",", "")) for name in ("median", "mean", "max")]
    assert values == sorted(values)
    assert 0.5 * both < values[1] < 2 * both
    assert "of 200 made-up experiments saw the difference" in lines[-1]


@pytest.mark.slow
def test_simulate_writes_its_figures_and_holds_its_bars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = _made(tmp_path, {"stable": 0.7, "canary": 0.9})
    monkeypatch.chdir(tmp_path)
    assert cli.main(["simulate", files.plan, "--experiments", "100", "--horizon", "4000"]) == 0
    assert capsys.readouterr().out == "build/experiment-simulation.json\n"
    figures = json.loads((tmp_path / "build/experiment-simulation.json").read_text("utf-8"))
    values = {row["name"]: row for row in figures["results"]}
    assert values["no_difference.false_positives"]["bar"] == "<= 0.05"
    assert all(row["holds"] is not False for row in figures["results"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda files: ["verdict", files.plan], "--exposures"),
        (lambda files: files.verdict("--now-s", "today"), "--now-s"),
        (lambda files: files.verdict("--now-s", "nan"), "--now-s nan"),
        (lambda files: files._replace(plan="no.json").verdict(), "Expected a file with a plan"),
        (lambda files: files._replace(exposures="no*").verdict(), "Received: no*"),
        (lambda files: files._replace(outcomes="no.csv").verdict(), "Received: no.csv"),
        (lambda files: ["simulate", files.plan, "--experiments", "0"], "--experiments 0"),
        (lambda files: ["plan", files.plan, "--horizon", "10"], "Received: 10"),
        (lambda files: [], "required: verb"),
    ],
)
def test_a_mistake_is_one_line_exit_code_two_and_writes_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Files], list[str]],
    told: str,
) -> None:
    files = _made(tmp_path, {"stable": 0.7, "canary": 0.9})
    try:
        code = cli.main(change(files))
    except SystemExit as stop:
        code = stop.code
    out, talk = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert told in talk.splitlines()[-1]
    assert "Traceback" not in talk
    assert not files.page.exists()


@pytest.mark.slow
def test_the_command_needs_no_tensorflow() -> None:
    script = (
        "import sys, serving.rollout.experiment.__main__;"
        "print({'tensorflow', 'keras', 'sklearn', 'scipy'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"
