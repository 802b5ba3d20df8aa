"""Which batching parameters are tried, and which are recommended."""

from __future__ import annotations

import pytest

from loadtest import tune
from loadtest.knee import Found
from loadtest.tune import Tried, choose
from loadtest.tuning.candidates import OFF, Candidate, grid
from loadtest.verdicts.knee_search import Knee
from serving.local import batching_parameters
from training.command_line import InputError

BEST = Candidate(max_batch_size=32, batch_timeout_micros=1000, num_batch_threads=2)
OTHER = Candidate(max_batch_size=8)


def tried(candidate: Candidate, low: float, rate: float | None, high: float | None, last=True):
    knee = Knee(rate=rate, low=low, high=high, why="", complete=True, measurements=9)
    return Tried(candidate=candidate, found=Found(knee=knee, points=(), seconds=1.0), last=last)


def test_batching_is_recommended_where_it_is_surely_better():
    off, best = tried(OFF, 190, 200, 210), tried(BEST, 215, 230, 240)
    assert choose([off, tried(OTHER, 180, 205, 220), best]) is best


def test_no_batching_stays_where_nothing_is_surely_better():
    off = tried(OFF, 190, 200, 220)
    assert choose([off, tried(BEST, 215, 230, 240)]) is off
    at_least = tried(OFF, 190, None, None)
    assert choose([at_least, tried(BEST, 215, 230, 240)]) is at_least


def test_batching_is_recommended_where_nothing_holds_without():
    best = tried(BEST, 20, 25, 30)
    assert choose([tried(OFF, 0.0, None, 10), best]) is best


def test_nothing_is_recommended_where_nothing_holds():
    assert choose([tried(OFF, 0.0, None, 10), tried(BEST, 0.0, None, 10)]) is None
    assert choose([]) is None


def test_only_the_last_look_counts():
    off = tried(OFF, 190, 200, 210)
    assert choose([off, tried(BEST, 400, 450, 500, last=False)]) is off


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
    assert line.startswith("loadtest.tune: error: ")
    assert words in line
    assert not (tmp_path / "build").exists()
