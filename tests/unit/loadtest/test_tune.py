"""Which batching parameters are tried, and which are recommended."""

from __future__ import annotations

import pytest

from foundation.command_line import InputError
from loadtest import tune
from loadtest.loops.searching import Found
from loadtest.results.point import Point
from loadtest.results.recording import Recording
from loadtest.results.samples import Sample
from loadtest.tuning import in_turns
from loadtest.tuning.candidates import OFF, Candidate, grid
from loadtest.tuning.in_turns import InTurns
from loadtest.tuning.recommendation import Tried, choose, finalists, rivals, words
from loadtest.verdicts.knee_search import Knee
from loadtest.verdicts.objectives import Objectives
from serving.local.batching import parameters as batching_parameters

BEST = Candidate(max_batch_size=32, batch_timeout_micros=1000, num_batch_threads=2)
OTHER = Candidate(max_batch_size=8)


def tried(candidate: Candidate, low: float, rate: float | None, high: float | None, last=True):
    knee = Knee(rate=rate, low=low, high=high, why="", complete=True, measurements=9)
    return Tried(candidate=candidate, found=Found(knee=knee, points=(), seconds=1.0), last=last)


def turns(better: int, of: int = 10) -> InTurns:
    pairs = [(0.5, 1.5)] * better + [(1.5, 0.5)] * (of - better)
    return InTurns(rate=200.0, pairs=tuple(pairs))


@pytest.mark.parametrize(("better", "sure"), [(10, True), (9, True), (8, False), (5, False)])
def test_batching_is_recommended_where_it_is_surely_better_side_by_side(better, sure):
    off, best = tried(OFF, 190, 200, 210), tried(BEST, 215, 230, 240)
    looks = [off, tried(OTHER, 180, 205, 220), best]
    assert rivals(looks) == (best, off)
    chosen = choose(looks, turns(better))
    assert chosen is (best if sure else off)
    told = words(chosen, looks, turns(better))
    assert f"; 32 rows, 1000 us, 2 threads better in {better} of 10 pairs at 200 requests/s" in told
    assert told.startswith(f"recommended: {'32 rows, 1000 us' if sure else 'no batching'}")


def test_how_often_chance_alone_is_as_good():
    assert turns(10).chance == pytest.approx(1 / 1024)
    assert turns(9).chance == pytest.approx(11 / 1024)
    assert turns(0).chance == 1
    assert InTurns(rate=1.0, pairs=((1.0, 1.0),) * 9 + ((1.0, 2.0),)).chance == 0.5


@pytest.mark.parametrize(
    ("off", "best"),
    [((0.0, None, 10), (20, 25, 30)), ((190, 240, 250), (215, 230, 240)), ((40, None, None),) * 2],
    ids=["nothing holds without", "better without", "the same"],
)
def test_there_are_no_turns_where_there_is_nothing_to_decide(off, best):
    looks = [tried(OFF, *off), tried(BEST, *best)]
    assert rivals(looks) is None
    assert choose(looks, None) is looks[off[0] == 0.0]


def test_nothing_is_recommended_where_nothing_holds():
    assert choose([tried(OFF, 0.0, None, 10), tried(BEST, 0.0, None, 10)], None) is None
    assert choose([], None) is None


def test_only_the_last_look_counts():
    off, first = tried(OFF, 190, 200, 210), tried(BEST, 400, 450, 500, last=False)
    assert rivals([off, first]) is None
    assert choose([off, first], None) is off
    assert finalists([off, first, tried(OTHER, 0.0, None, 10)]) == [OFF, BEST]


def point(latencies_ms, failed=0):
    codes = ["OK"] * len(latencies_ms) + ["INTERNAL"] * failed
    taken = [
        Sample(start_s=1.0, latency_ms=ms, name="n", code=code, version=1, details="")
        for ms, code in zip([*latencies_ms, *[1.0] * failed], codes)
    ]
    return Point(
        rate=9.0,
        seconds=1.0,
        requests=len(taken),
        failures=failed,
        right_per_s=9.0,
        p50_ms=None,
        p99_ms=None,
        holds=True,
        limited="",
        recording=Recording.of(taken, 1.0),
    )


def test_strain_is_that_of_the_objective_that_is_nearest_to_its_limit():
    limits = {"p50_ms": 20.0, "p99_ms": 100.0, "error_rate": 0.01, "requests_per_s": 5.0}
    both = Objectives(limits=limits, source="this test")
    assert in_turns.strain(point([10.0] * 90 + [40.0] * 10), both) == pytest.approx(0.5, 0.01)
    assert in_turns.strain(point([10.0] * 90 + [140.0] * 10), both) == pytest.approx(1.4, 0.01)
    assert in_turns.strain(point([10.0] * 90, failed=10), both) == float("inf")
    assert in_turns.strain(point([]), both) == float("inf")


def test_the_file_is_one_that_the_server_reads(tmp_path):
    path = tmp_path / "batching.config"
    path.write_text(BEST.text(["Recommended by somebody.", ""]))
    found = batching_parameters.read(path)
    assert found.max_batch_size == 32
    assert found.batch_timeout_micros == 1000
    assert found.num_batch_threads == 2
    assert found.max_enqueued_batches == 100


def test_the_grid_is_every_combination_and_no_batching():
    found = grid([32, 8, 8], [0, 1000], [1, 2])
    assert found[0] == OFF
    assert len(found) == len(set(found)) == 1 + 2 * 2 * 2
    assert found[1].name == "8 rows, 0 us, 1 thread"
    assert found[0].name == "no batching"


@pytest.mark.parametrize(
    ("sizes", "timeouts", "threads", "words"),
    [
        ([0], [0], [1], "Expected --batch-sizes of 1 or more. Received: 0"),
        ([8], [-1], [1], "Expected --timeouts-us of 0 or more"),
        ([8], [0], [], "Received: none"),
        (range(1, 10), range(10), [1], "at most 64 combinations"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(sizes, timeouts, threads, words):
    with pytest.raises(InputError, match=words):
        grid(list(sizes), list(timeouts), list(threads))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--batch-sizes", "many"], "Expected --batch-sizes as numbers"),
        (["--models", "nowhere"], "Expected a store and a models.config"),
        (["--batch-sizes", "4", "--batch", "8"], "batches that a request of 8 images fits into"),
        (["--rate", "5"], "Expected no --rate"),
        (["--p99-ms", "0"], "Expected --p99-ms above 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_starts_nothing(tmp_path, monkeypatch, capsys, flags, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models.config").touch()
    assert tune.main(["--config", "models.config", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("python -m loadtest.tune: error: ")
    assert words in line
    assert not (tmp_path / "build").exists()
