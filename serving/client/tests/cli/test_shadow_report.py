"""tfs shadow-report: what it counts and what it prints."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tfs_client import Comparison, ShadowLog
from tfs_client.cli import main
from tfs_client.cli.shadow_report import wilson

ONE = Comparison(
    request_id="",
    time_s=1767225600.0,
    model="image_classifier",
    primary_version=1,
    shadow="image_classifier/labels/canary",
    shadow_version=2,
    agree=True,
    primary_label="sound",
    shadow_label="sound",
    primary_probability=0.25,
    shadow_probability=0.375,
    max_difference=0.125,
    primary_latency_s=0.010,
    shadow_latency_s=0.020,
)


def odd(at: int) -> Comparison:
    return dataclasses.replace(
        ONE,
        request_id=f"order-{at}",
        agree=False,
        shadow_label="defective",
        shadow_probability=0.75,
        max_difference=0.5,
    )


def unanswered(error: str) -> Comparison:
    return dataclasses.replace(
        ONE, agree=None, shadow_version=0, shadow_latency_s=0.0, error=error, max_difference=None
    )


@pytest.fixture
def write(tmp_path):
    """A function that writes comparisons into a file."""

    def write(*lines: Comparison, name: str = "shadow.jsonl") -> Path:
        with ShadowLog(tmp_path / name) as log:
            for line in lines:
                log(line)
        return tmp_path / name

    return write


def report(capsys, *files: Path) -> dict:
    assert main(["shadow-report", *map(str, files), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_report_counts_agreement_differences_and_latencies(write, capsys):
    slow = dataclasses.replace(ONE, primary_latency_s=0.1, shadow_latency_s=0.1)
    found = report(capsys, write(*[ONE] * 7, slow, odd(8), odd(9)))
    assert (found["mirrored"], found["compared"], found["failed"]) == (10, 10, {})
    (pair,) = found["pairs"]
    assert (pair["model"], pair["primary_version"], pair["shadow"], pair["shadow_version"]) == (
        *("image_classifier", 1, "image_classifier/labels/canary", 2),
    )
    assert (pair["compared"], pair["agreed"], pair["agreement"]) == (10, 8, 0.8)
    assert pair["agreement_95"] == [
        pytest.approx(0.4902, abs=1e-4),
        pytest.approx(0.9433, abs=1e-4),
    ]
    assert (pair["max_difference"], pair["mean_difference"]) == (0.5, pytest.approx(0.2))
    assert pair["primary_latency_ms"] == {"p50": 10.0, "p95": 59.5}
    assert pair["shadow_latency_ms"] == {"p50": 20.0, "p95": 64.0}
    assert pair["latency_ratio"] == {"p50": 2.0, "p95": 1.076}
    assert [one["request_id"] for one in pair["disagreements"]] == ["order-8", "order-9"]
    assert pair["disagreements"][0] == dataclasses.asdict(odd(8))


def test_failures_are_counted_by_class_and_stand_in_no_pair(write, capsys):
    lines = [unanswered("NotFoundError"), ONE, *[unanswered("DeadlineExceededError")] * 2]
    found = report(capsys, write(*lines))
    assert found["failed"] == {"DeadlineExceededError": 2, "NotFoundError": 1}
    assert (found["mirrored"], found["compared"]) == (4, 1)
    assert [pair["compared"] for pair in found["pairs"]] == [1]


def test_each_pair_of_versions_and_each_file_is_counted(write, capsys):
    newer = dataclasses.replace(ONE, shadow_version=3)
    other = dataclasses.replace(ONE, shadow="echo/versions/2")
    one, two = write(ONE, newer, name="a.jsonl"), write(newer, other, name="b.jsonl")
    found = report(capsys, one, two)
    assert [
        (pair["shadow"], pair["shadow_version"], pair["compared"]) for pair in found["pairs"]
    ] == [
        ("echo/versions/2", 2, 1),
        ("image_classifier/labels/canary", 2, 1),
        ("image_classifier/labels/canary", 3, 2),
    ]


@pytest.mark.parametrize(
    "line",
    [
        '{"request_id": "torn',
        "[1, 2]",
        "3",
        '"text"',
        '{"request_id": "r"}',
        "\xff",
        json.dumps({**vars(ONE), "primary_latency_s": "slow"}),
        json.dumps({**vars(ONE), "agree": None}),
        json.dumps({**vars(ONE), "max_difference": "much"}),
        json.dumps({**vars(ONE), "shadow_probability": math.nan}),
        json.dumps({**vars(ONE), "model": 3}),
    ],
    ids=lambda line: line[:20],
)
def test_torn_and_foreign_lines_are_counted_and_skipped(write, capsys, line):
    path = write(ONE)
    path.write_bytes(line.encode("latin-1") + b"\n" + path.read_bytes())
    found = report(capsys, path)
    assert (found["torn_lines"], found["mirrored"]) == (1, 1)
    assert main(["shadow-report", str(path)]) == 0
    assert re.search(r"(?m)^torn lines +1, not counted$", capsys.readouterr().out)


def test_a_field_of_a_later_release_is_no_torn_line(write, capsys):
    path = write(ONE)
    path.write_text(json.dumps({**vars(ONE), "colour": "blue"}) + "\n")
    assert report(capsys, path)["torn_lines"] == 0


def test_the_first_twenty_disagreements_are_listed(write, capsys):
    path = write(*map(odd, range(25)))
    assert [one["request_id"] for one in report(capsys, path)["pairs"][0]["disagreements"]] == [
        f"order-{at}" for at in range(20)
    ]
    assert main(["shadow-report", str(path)]) == 0
    out = capsys.readouterr().out
    assert "disagree (and 5 more):" in out
    assert "order-19" in out
    assert "order-20" not in out


def test_arrays_have_no_labels_and_the_table_shows_none(write, capsys):
    arrays = dataclasses.replace(
        odd(1), primary_label="", shadow_label="", primary_probability=None, shadow_probability=None
    )
    assert main(["shadow-report", str(write(arrays))]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split() == ["order-1", "-", "-", "-", "-", "0.5000"]


def test_an_empty_log_is_a_report_of_nothing(write, capsys):
    path = write()
    assert report(capsys, path) == {
        **{"mirrored": 0, "compared": 0, "failed": {}, "torn_lines": 0},
        "pairs": [],
    }
    assert main(["shadow-report", str(path)]) == 0
    assert capsys.readouterr().out.split() == ["mirrored", "0", "failed", "none"]


def test_a_missing_file_is_one_line_and_exit_code_2(tmp_path, capsys):
    for path in (tmp_path / "nowhere.jsonl", tmp_path):
        assert main(["shadow-report", str(path)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        said = f"tfs: error: Expected a file that a ShadowLog has written. Received: {path} ("
        assert captured.err.startswith(said)
        assert captured.err.endswith("; give the path of one that is there and may be read\n")


SAMPLE = """\
mirrored  201
failed    1 (DeadlineExceededError: 1)

image_classifier version 1, shadow image_classifier/labels/canary version 2
agree        197 of 200
agreement    0.9850  95 % 0.9568 to 0.9949
difference   largest 0.5  mean 0.1306
latency, ms  p50 10.00 -> 20.00 (x2.00)  p95 10.00 -> 20.00 (x2.00)
disagree:
request_id  primary  probability  shadow     probability  difference
order-4     sound         0.2500  defective       0.7500      0.5000
order-92    sound         0.2500  defective       0.7500      0.5000
order-117   sound         0.2500  defective       0.7500      0.5000
"""


def test_the_tables_line_up(write, capsys):
    lines = [*[ONE] * 197, odd(4), odd(92), odd(117), unanswered("DeadlineExceededError")]
    assert main(["shadow-report", str(write(*lines))]) == 0
    assert capsys.readouterr().out == SAMPLE


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_interval_holds_the_share_and_lies_within_0_and_1(trials, part):
    hits = round(trials * part)
    low, high = wilson(hits, trials)
    assert 0 <= low <= hits / trials <= high <= 1
    assert low < high


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (15, 148, 0.0624, 0.1605)],
)
def test_the_interval_is_wilsons(hits, trials, low, high):
    # R. G. Newcombe, 1998, table I: 15 of 148 is 0.0624 to 0.1605
    assert wilson(hits, trials) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
