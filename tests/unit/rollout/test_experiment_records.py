"""Exposures and outcomes: what is read, what is passed over, and how they are joined."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.command_line import InputError
from serving.rollout.experiment.plan import Plan
from serving.rollout.experiment.reading import read_records
from serving.rollout.experiment.records import Records
from tfs_client import ExposureLog, Router
from tfs_client.routing.exposures import Exposure

PLAN = Plan(
    experiment="e", weights={"stable": 1, "canary": 1}, baseline=0.8, smallest_difference=0.05
)
START_S = 1.7e9


def _exposure(request_id: str, **fields: Any) -> Exposure:
    told = {
        "experiment": "e",
        "unit": f"unit of {request_id}",
        "label": "stable",
        "answered_by": f"image_classifier/labels/{fields.get('label', 'stable')}",
        "model": "image_classifier",
        "version": 1,
        "request_id": request_id,
        "time_s": START_S,
        "latency_s": 0.01,
        "error": "",
        "needs_review": False,
        "predicted": "sound",
        "probability": 0.2,
    }
    return Exposure(**{**told, **fields})


def _log(path: Path, exposures: Iterable[Exposure]) -> str:
    with ExposureLog(path) as log:
        for exposure in exposures:
            log(exposure)
    return str(path)


def _lines(path: Path, rows: Iterable[object]) -> str:
    texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return str(path)


def _read(folder: Path, exposures: Iterable[Exposure], outcomes: Iterable[object]) -> Records:
    return read_records(
        PLAN,
        [_log(folder / "exposures.jsonl", exposures)],
        [_lines(folder / "outcomes.jsonl", outcomes)],
    )


def test_what_a_router_logs_is_what_is_read(tmp_path: Path) -> None:
    with ExposureLog(tmp_path / "exposures.jsonl") as log:
        router = Router({"stable": 1, "canary": 1}, experiment="e", on_exposure=log)
        dealt = [router.assign(user) for user in range(40)]
        for at, one in enumerate(dealt):
            router.expose(
                _exposure(
                    f"r{at}",
                    unit=one.unit,
                    label=one.label,
                    answered_by=f"image_classifier/labels/{one.label}",
                    time_s=START_S + at,
                    needs_review=at % 4 == 0,
                    latency_s=at / 100,
                )
            )
    outcomes = _lines(
        tmp_path / "outcomes.jsonl",
        [{"request_id": f"r{at}", "truth": "sound" if at % 3 else "defective"} for at in range(40)],
    )
    records = read_records(PLAN, [str(tmp_path / "exposures.jsonl")], [outcomes])
    met, known = records.exposures, records.outcomes
    assert met.treatment.tolist() == [one.label == "canary" for one in dealt]
    assert 5 < met.treatment.sum() < 35
    assert len(set(met.unit.tolist())) == 40
    assert met.time_s.tolist() == [START_S + at for at in range(40)]
    assert met.review.tolist() == [at % 4 == 0 for at in range(40)]
    assert met.latency_s.tolist() == [at / 100 for at in range(40)]
    assert not met.failed.any()
    assert known.right.tolist() == [at % 3 != 0 for at in range(40)]
    assert known.treatment.tolist() == met.treatment.tolist()
    assert known.unit.tolist() == met.unit.tolist()
    assert (records.counts.exposures, records.counts.outcomes) == (40, 40)


def test_requests_of_one_unit_stay_together_and_those_of_two_apart(tmp_path: Path) -> None:
    exposures = [_exposure(f"r{at}", unit=f"u{at % 2}") for at in range(6)]
    records = _read(tmp_path, exposures, [])
    first, second = records.exposures.unit[:2]
    assert records.exposures.unit.tolist() == [first, second] * 3
    assert first != second


def test_what_belongs_to_others_is_left_out_and_counted(tmp_path: Path) -> None:
    exposures = [
        _exposure("a"),
        _exposure("b", experiment="another"),
        _exposure("c", label="shadow"),
    ]
    outcomes = [{"request_id": one, "correct": True} for one in "abcd"]
    counts = _read(tmp_path, exposures, outcomes).counts
    assert (counts.exposures, counts.outcomes) == (1, 1)
    assert counts.exposures_of_other_experiments == 1
    assert counts.exposures_of_other_labels == 1
    assert counts.outcomes_without_exposure == 3


def test_torn_lines_are_counted_and_never_fatal(tmp_path: Path) -> None:
    whole = json.dumps(dataclasses.asdict(_exposure("a")))
    nan = whole.replace('"time_s": 1700000000.0', '"time_s": NaN')
    exposures = tmp_path / "exposures.jsonl"
    exposures.write_bytes(
        b"\n".join(
            [
                whole.encode(),
                whole[:40].encode(),
                b"\xff\xfe\x00",
                b"[" * 100_000,
                b"7",
                b"",
                nan.encode(),
                b'{"experiment": "e"}',
                json.dumps({**json.loads(whole), "unit": ["u"]}).encode(),
                whole.replace('"a"', '"b"')[:-2].encode(),
            ]
        )
    )
    outcomes = _lines(
        tmp_path / "outcomes.jsonl",
        [
            {"request_id": "a", "correct": True},
            '{"request_id": "a"',
            {"request_id": "a"},
            {"request_id": "a", "truth": ""},
            {"request_id": "a", "correct": "perhaps"},
            '{"request_id": "a", "correct": NaN}',
            {"request_id": ["a"], "correct": True},
            {"correct": True},
        ],
    )
    counts = read_records(PLAN, [str(exposures)], [outcomes]).counts
    assert (counts.exposures, counts.exposure_lines_skipped) == (1, 8)
    assert (counts.outcomes, counts.outcome_lines_skipped, counts.outcomes_replaced) == (1, 7, 0)


def test_the_first_exposure_of_an_id_counts_whatever_the_order_of_files(tmp_path: Path) -> None:
    later = _log(tmp_path / "1.jsonl", [_exposure("a", label="canary", time_s=START_S + 5)])
    earlier = _log(tmp_path / "2.jsonl", [_exposure("a", label="stable", time_s=START_S)])
    records = read_records(PLAN, [later, earlier], [_lines(tmp_path / "o.jsonl", [])])
    assert records.exposures.treatment.tolist() == [False]
    assert records.exposures.time_s.tolist() == [START_S]
    assert (records.counts.exposures, records.counts.exposures_repeated) == (1, 1)


def test_a_later_outcome_replaces_an_earlier_one(tmp_path: Path) -> None:
    outcomes = [
        {"request_id": "by order", "correct": True},
        {"request_id": "by order", "correct": False},
        {"request_id": "by time", "correct": True, "time_s": START_S + 9},
        {"request_id": "by time", "correct": False, "time_s": START_S + 8},
    ]
    exposures = [_exposure("by order"), _exposure("by time", time_s=START_S + 1)]
    records = _read(tmp_path, exposures, outcomes)
    assert records.outcomes.right.tolist() == [False, True]
    assert records.outcomes.time_s.tolist() == [START_S, START_S + 9]
    assert records.counts.outcomes_replaced == 2


def test_an_outcome_is_never_known_before_its_exposure(tmp_path: Path) -> None:
    outcomes = [{"request_id": "a", "correct": 1, "time_s": START_S - 100}]
    assert _read(tmp_path, [_exposure("a")], outcomes).outcomes.time_s.tolist() == [START_S]


def test_who_was_answered_by_a_fallback_stays_where_it_was_assigned(tmp_path: Path) -> None:
    exposures = [
        _exposure("a", label="canary", answered_by="image_classifier/labels/stable"),
        _exposure("b", label="canary", answered_by="default", predicted=""),
        _exposure("c", label="canary", answered_by="", error="UnavailableError", predicted=""),
        _exposure("d", label="canary"),
    ]
    records = _read(tmp_path, exposures, [{"request_id": one, "truth": "sound"} for one in "abcd"])
    assert records.exposures.treatment.all()
    assert records.outcomes.treatment.all()
    assert records.exposures.failed.tolist() == [True, True, True, False]
    assert records.outcomes.right.tolist() == [True, False, False, True]
    assert records.exposures.version.tolist() == [0, 0, 0, 1]
    assert records.counts.exposures_by_fallback == 2


def test_images_of_one_call_are_joined_one_by_one(tmp_path: Path) -> None:
    exposures = [_exposure("call-0", predicted="sound"), _exposure("call-1", predicted="defective")]
    outcomes = [{"request_id": f"call-{at}", "truth": "sound"} for at in range(2)]
    assert _read(tmp_path, exposures, outcomes).outcomes.right.tolist() == [True, False]


def test_a_call_that_failed_as_a_whole_takes_the_outcomes_of_its_images(tmp_path: Path) -> None:
    failed = {"error": "UnavailableError", "answered_by": "", "predicted": ""}
    exposures = [_exposure("dead", **failed), _exposure("alive")]
    outcomes = [{"request_id": f"{call}-{at}", "truth": "sound"} for call in ("dead", "alive")
                for at in range(3)]  # fmt: skip
    records = _read(tmp_path, exposures, outcomes)
    assert records.outcomes.right.tolist() == [False] * 3
    assert records.counts.outcomes_without_exposure == 3


def test_an_exposure_without_a_prediction_field_is_not_taken_for_a_wrong_answer(
    tmp_path: Path,
) -> None:
    old = dataclasses.asdict(_exposure("old"))
    del old["predicted"], old["probability"]
    exposures = _lines(
        tmp_path / "exposures.jsonl",
        [old, dataclasses.asdict(_exposure("new", time_s=START_S + 1))],
    )
    truths = [{"request_id": one, "truth": "sound"} for one in ("old", "new")]
    records = read_records(PLAN, [exposures], [_lines(tmp_path / "o.jsonl", truths)])
    assert records.outcomes.right.tolist() == [True]
    assert records.counts.outcomes_without_prediction == 1
    correct = [{"request_id": "old", "correct": True}]
    assert read_records(PLAN, [exposures], [_lines(tmp_path / "o.jsonl", correct)]).outcomes.right


def test_truths_are_refused_where_nothing_was_predicted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="say what was predicted"):
        _read(tmp_path, [_exposure("a", predicted="")], [{"request_id": "a", "truth": "sound"}])


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("request_id,truth\na,sound\nb,defective\n", [True, False]),
        ("\ufeffrequest_id,time_s,correct\na,,TRUE\nb,,0\n", [True, False]),
        ('request_id,note,correct\r\na,"x, y",1\r\nb,,false\r\n', [True, False]),
        ("request_id,correct\na,1\nb,0,too many\nb\n", [True]),
    ],
)
def test_outcomes_may_be_csv(tmp_path: Path, text: str, right: list[bool]) -> None:
    (tmp_path / "outcomes.csv").write_text(text, encoding="utf-8", newline="")
    exposures = _log(tmp_path / "e.jsonl", [_exposure("a"), _exposure("b", time_s=START_S + 1)])
    records = read_records(PLAN, [exposures], [str(tmp_path / "outcomes.csv")])
    assert records.outcomes.right.tolist() == right
    assert records.counts.outcome_lines_skipped == 2 * (len(right) == 1)


@pytest.mark.parametrize("text", ["", "id,truth\na,sound\n", "request_id,label\na,sound\n"])
def test_csv_without_the_columns_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "outcomes.csv").write_text(text, encoding="utf-8")
    exposures = _log(tmp_path / "e.jsonl", [_exposure("a")])
    with pytest.raises(InputError, match="with a head line that names"):
        read_records(PLAN, [exposures], [str(tmp_path / "outcomes.csv")])


def test_rotated_and_compressed_files_are_found_by_a_glob_and_read_once(tmp_path: Path) -> None:
    _log(tmp_path / "e.jsonl", [_exposure("c", time_s=START_S + 2)])
    _log(tmp_path / "e.jsonl.1", [_exposure("b", time_s=START_S + 1)])
    packed = _log(tmp_path / "plain", [_exposure("a")])
    (tmp_path / "e.jsonl.2.gz").write_bytes(gzip.compress(Path(packed).read_bytes()))
    (tmp_path / "o.csv.1").write_text("request_id,correct\na,1\n", encoding="utf-8")
    records = read_records(
        PLAN,
        [str(tmp_path / "e.jsonl*"), os.path.relpath(tmp_path / "e.jsonl")],
        [str(tmp_path / "o.*")],
    )
    assert records.exposures.time_s.tolist() == [START_S, START_S + 1, START_S + 2]
    assert records.counts.exposures_repeated == 0
    assert records.counts.outcomes == 1


@pytest.mark.parametrize("name", ["run[1]", "[ab]*", "**"])
def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / "logs[2]"
    folder.mkdir(parents=True)
    _log(folder / "e.jsonl", [_exposure("a")])
    outcomes = _lines(folder / "o.jsonl", [{"request_id": "a", "correct": 1}])
    for relative in (False, True):
        pattern = os.path.relpath(folder / "e*") if relative else str(folder / "e*")
        assert read_records(PLAN, [pattern], [outcomes]).counts.exposures == 1


def test_a_compressed_file_whose_end_is_missing_gives_what_it_has(tmp_path: Path) -> None:
    packed = _log(tmp_path / "plain", [_exposure(f"{at}") for at in range(2000)])
    whole = gzip.compress(Path(packed).read_bytes())
    (tmp_path / "e.gz").write_bytes(whole[: len(whole) // 2])
    counts = read_records(PLAN, [str(tmp_path / "e.gz")], [_lines(tmp_path / "o", [])]).counts
    assert 100 < counts.exposures < 2000
    assert counts.exposure_lines_skipped == 1


@pytest.mark.parametrize(
    "path", ["missing.jsonl", "missing*.jsonl", "missing[1]/*.jsonl", ".", "/"]
)
def test_a_path_of_no_file_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError, match="Expected a file, or a glob of files, with exposures"):
        read_records(PLAN, [str(tmp_path / path)], [])


def test_nothing_at_all_is_read_as_nothing(tmp_path: Path) -> None:
    records = _read(tmp_path, [], [])
    assert len(records.exposures.time_s) == len(records.outcomes.time_s) == 0
    records = _read(tmp_path, [], [{"request_id": "a", "truth": "sound"}])
    assert records.counts.outcomes_without_exposure == 1


def test_a_unit_that_was_moved_is_counted(tmp_path: Path) -> None:
    exposures = [_exposure("a", unit="u"), _exposure("b", unit="u", label="canary")]
    assert _read(tmp_path, exposures, []).counts.units_on_both_sides == 1


def test_numbers_that_are_none_do_no_harm(tmp_path: Path) -> None:
    row = dataclasses.asdict(_exposure("a"))
    rows = [
        {**row, "latency_s": float("nan"), "probability": float("nan"), "needs_review": None},
        {**row, "request_id": "b", "latency_s": None, "needs_review": {}, "answered_by": None},
    ]
    exposures = _lines(tmp_path / "e.jsonl", rows)
    records = read_records(PLAN, [exposures], [_lines(tmp_path / "o.jsonl", [])])
    assert np.isnan(records.exposures.latency_s).all()
    assert not records.exposures.review.any()
    assert records.counts.exposures == 2


@pytest.mark.slow
def test_memory_stays_far_below_the_size_of_the_files(tmp_path: Path) -> None:
    exposures = _lines(
        tmp_path / "e.jsonl",
        (dataclasses.asdict(_exposure(f"{at}", model="m" * 2000)) for at in range(10_000)),
    )
    outcomes = _lines(tmp_path / "o.jsonl", [])
    tracemalloc.start()
    try:
        read_records(PLAN, [exposures], [outcomes])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert Path(exposures).stat().st_size > 20e6
    assert peak < 5e6
