"""The pages of the load test, each from samples of its own: whole, and in need of nothing else."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest

from foundation.pages.page import origin
from loadtest import compare
from loadtest.change.commands import Event
from loadtest.change.cost import costs
from loadtest.report import knee_page, page, tune_page
from loadtest.results import generator
from loadtest.results.generator import State
from loadtest.results.point import Point
from loadtest.results.recording import Recording
from loadtest.results.run_file import RunFile
from loadtest.results.samples import OK, Sample
from loadtest.results.summary import summarise
from loadtest.results.taken import Taken
from loadtest.traffic.arrivals import Piece
from loadtest.tuning.candidates import OFF, Candidate
from loadtest.tuning.in_turns import InTurns
from loadtest.tuning.recommendation import Found, Tried
from loadtest.verdicts import objectives
from loadtest.verdicts.knee_search import Knee
from loadtest.verdicts.objectives import Objectives
from tests.house.pages import plots, whole

BEGIN_S = 1_700_000_000.0
STARTED = datetime.datetime.fromtimestamp(BEGIN_S, datetime.timezone.utc)
OBJECTIVES = Objectives(limits={"p99_ms": 60.0, "error_rate": 0.02}, source="flags")


def drawn(seed: int, *, slower: float = 1.0, seconds: int = 40, per_s: int = 30) -> list[Sample]:
    """Requests of about 12 ms; version 2 answers the second half; a few fail."""
    random = np.random.default_rng(seed)
    found = []
    for at in range(seconds * per_s):
        due_s = at / per_s
        code = "UNAVAILABLE" if 20 <= due_s < 20.5 else OK
        found.append(
            Sample(
                start_s=BEGIN_S + due_s,
                latency_ms=12 * slower * float(np.exp(random.normal(0, 0.35))),
                name="serving_default",
                code=code,
                version=(1 if due_s < 20 else 2) if code == OK else None,
                details="" if code == OK else "connection refused",
                late_ms=float(random.exponential(0.2)),
                label="stable",
            )
        )
    return found


def state() -> State:
    late = np.random.default_rng(1).exponential(0.2, 100)
    meter = generator.Meter(0)
    meter.begin()
    for one in late:
        meter.sent(one / 1000, held_back=False)
    return meter.end(4)


@pytest.mark.slow
def test_a_load_test(tmp_path: Path) -> None:
    sent = drawn(1)
    held = Recording.of(sent, BEGIN_S)
    event = Event(
        second=20.0,
        started_s=BEGIN_S + 20,
        ended_s=BEGIN_S + 21,
        command="python -m serving.rollout promote",
        code=0,
        words="",
    )
    summary = summarise(sent, held)
    states = [state()]
    summed = generator.summarise(states, held.percentiles((99,))[0].value_ms)
    report = page.Report(
        taken=Taken(samples=sent, recording=held, states=states, partial=["interrupted"]),
        summary=summary,
        settings={"target": "localhost:8500", "rate": 30.0, "signature": "serving_default"},
        how="open loop, 30 requests/s",
        state=summed,
        pieces=(
            Piece(rate_per_s=30.0, duration_s=20.0),
            Piece(rate_per_s=30.0, duration_s=20.0),
        ),
        verdict=objectives.judge(OBJECTIVES, held, summary, summed, partial=False),
        changes=costs([event], sent, BEGIN_S),
        command="python -m loadtest.run --rate 30",
        started=STARTED,
    )
    page.write(tmp_path / "page.html", report)
    text = whole(tmp_path / "page.html", "Load test of localhost:8500", "Partial: interrupted")
    assert plots(text) == 3
    for words in ("UNAVAILABLE", "serving.rollout promote", "version 2 first answered", "p99.99"):
        assert words in text


@pytest.mark.slow
def test_a_knee(tmp_path: Path) -> None:
    points = []
    for rate in (50.0, 100.0, 150.0, 200.0):
        sent = drawn(int(rate), slower=rate / 60, seconds=5)
        held = Recording.of(sent, BEGIN_S)
        p50, p99 = (one.value_ms for one in held.percentiles((50, 99)))
        points.append(
            Point(
                rate=rate,
                seconds=5.0,
                requests=len(sent),
                failures=0,
                right_per_s=rate * 0.97,
                p50_ms=p50,
                p99_ms=p99,
                holds=p99 <= 60,
                limited="" if rate < 200 else "the generator was late",
                recording=held,
            )
        )
    knee = Knee(rate=120.0, low=105.0, high=140.0, why="", complete=True, measurements=4)
    path = tmp_path / "knee.html"
    knee_page.write(
        path,
        verdict="120 requests/s, 105 to 140",
        knee=knee,
        points=points,
        objectives=OBJECTIVES,
        settings={"target": "localhost:8500"},
        origin=origin("python -m loadtest.knee --p99-ms 60", STARTED),
    )
    text = whole(path, "120 requests/s, 105 to 140", "objective: p99_ms", "does not count")
    assert text.count("<code>python -m loadtest.knee --p99-ms 60</code>") == 1


@pytest.mark.slow
def test_batching_parameters(tmp_path: Path) -> None:
    def tried(candidate: Candidate, low: float, rate: float, high: float, last: bool) -> Tried:
        knee = Knee(rate=rate, low=low, high=high, why="", complete=True, measurements=9)
        found = Found(knee=knee, points=(), seconds=30.0)
        return Tried(candidate=candidate, found=found, last=last)

    best = Candidate(max_batch_size=32, batch_timeout_micros=1000, num_batch_threads=2)
    looks = [
        tried(OFF, 170, 190, 215, False),
        tried(Candidate(max_batch_size=8), 120, 140, 160, False),
        tried(best, 190, 230, 260, False),
        tried(OFF, 190, 200, 210, True),
        tried(best, 215, 230, 240, True),
    ]
    path = tmp_path / "tune.html"
    tune_page.write(
        path,
        verdict="recommended: 32 rows, 1000 us, 2 threads",
        tried=looks,
        turns=InTurns(rate=200.0, pairs=((0.6, 1.4),) * 9 + ((1.5, 0.5),)),
        chosen=looks[-1],
        objectives=OBJECTIVES,
        origin=origin("python -m loadtest.tune --p99-ms 60", STARTED),
    )
    text = whole(
        path,
        "Recommended: 32 rows",
        "Side by side",
        "python -m loadtest.tune",
        "a wrong dtype, image_bytes of another rank than 1, or pictures of a wrong size fail",
    )
    assert plots(text) == 2


@pytest.mark.slow
def test_a_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, slower in (("a", 1.0), ("b", 1.3)):
        held = Recording.of(drawn(ord(name), slower=slower), BEGIN_S)
        RunFile(
            command="python -m loadtest.run",
            started="2026-01-01T00:00:00+00:00",
            loop="open",
            settings={"target": "localhost:8500", "rate": 30.0},
            versions={"stable": 1},
            partial=(),
            generator=generator.summarise([state()], 20.0),
            recording=held,
        ).write(tmp_path / f"{name}.json")
    assert compare.main(["a.json", "b.json"]) in (0, 1)
    path = tmp_path / "build" / "loadtest-compare.html"
    text = whole(path, "Does b.json differ", "python -m loadtest.compare a.json b.json")
    assert plots(text) == 3
