"""The gate refuses, one fault each: what `make test` leaves to `make test-thorough`."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from export.gate import __main__ as gate
from tests import terminals
from tests.house.pages import whole
from tests.integration.export.gate_versions import (
    EQUAL,
    GREEDY,
    NAN,
    RENAMED,
    SLOW,
    TRUSTING,
    WORSE,
    by_name,
    extra,
    failed,
    verdict as verdict_of,
)
from tfs_client import contract

pytestmark = pytest.mark.thorough

NOT_WORSE = {"not_worse.balanced_accuracy", "not_worse.roc_auc"}


def test_a_worse_version_is_refused_by_its_answers_alone(
    gate_store: Path, gate_of: Callable
) -> None:
    done = gate_of(WORSE, "--against", "1")
    assert done.returncode == 1, done.stderr
    verdict = verdict_of(gate_store, WORSE)
    assert failed(verdict) == NOT_WORSE | {"robust"}
    checks = by_name(verdict)
    for name in NOT_WORSE | {"robust"}:
        assert checks[name]["received"].startswith("worse: ")
        assert checks[name]["detail"]["upper"] < -0.03
    assert checks["not_worse.balanced_accuracy"]["detail"]["mcnemar_p"] < 1e-6
    assert "refused: not_worse.balanced_accuracy, not_worse.roc_auc, robust" in done.stderr
    # every image that is not at the threshold itself is labelled the other way
    assert len(verdict["disagreements"]) >= verdict["held_out"]["images"] - 1
    apart = [
        abs(row["candidate"]["probability"] - row["stable"]["probability"])
        for row in verdict["disagreements"]
    ]
    assert apart == sorted(apart, reverse=True)
    page = whole(extra(gate_store, WORSE) / verdict["page"], "Refused")
    assert page.count('<img src="data:image/png') == 40


def test_a_first_version_that_guesses_passes_only_with_a_warning(
    gate_store: Path, gate_of: Callable
) -> None:
    shutil.rmtree(gate_store / contract.MODEL_NAME)
    done = gate_of(WORSE)
    assert done.returncode == 0, done.stderr
    verdict = verdict_of(gate_store, WORSE)
    area, accuracy = verdict["not_shown_better_than_guessing"]
    assert area.startswith("ROC-AUC 0.")
    assert accuracy.startswith("balanced accuracy 0.")
    lines = done.stderr.splitlines()
    assert f"  warning: not shown to be better than guessing, on these images: {area}" in lines
    assert lines[-1] == "passed, though not shown to be better than guessing"
    page = (extra(gate_store, WORSE) / verdict["page"]).read_text()
    assert f"Not shown to be better than guessing, on these images: {area}" in page


def test_a_version_without_a_number_for_some_images_is_refused_for_that_alone(
    gate_store: Path, gate_of: Callable
) -> None:
    done = gate_of(NAN, "--against", "1")
    assert done.returncode == 1, done.stderr
    verdict = verdict_of(gate_store, NAN)
    assert failed(verdict) == {"finite"}
    check = by_name(verdict)["finite"]
    assert "without a number" in check["received"]
    counts = check["detail"]["counts"]["held_out by serving_default"]
    assert 0 < counts["without a number"] < counts["valid"] / 2
    # black or white, one of them is beyond all held-out images
    assert check["detail"]["counts"]["edge by predict_images"]["without a number"] > 0
    left_out = by_name(verdict)["not_worse.roc_auc"]["detail"]["left_out"]
    assert left_out == counts["without a number"]


def test_where_the_figures_do_not_tell_it_is_unknown_and_a_cure_is_named(
    gate_store: Path, gate_of: Callable
) -> None:
    done = gate_of(EQUAL, "--against", "1", "--margin", "0.005")
    assert done.returncode == 1, done.stderr
    verdict = verdict_of(gate_store, EQUAL)
    assert failed(verdict) == set()
    unknown = [check for check in verdict["checks"] if check["state"] == "unknown"]
    names = [check["name"] for check in unknown]
    assert names[0] == "not_worse.balanced_accuracy"
    lines = done.stderr.splitlines()
    refused = f"refused: nothing fails; unknown: {', '.join(names)}; see "
    assert lines[-1].startswith(refused)
    page = (extra(gate_store, EQUAL) / verdict["page"]).read_text()
    assert f"Refused: nothing fails; unknown: {', '.join(names)}" in page
    for cure in unknown[0]["cures"]:
        assert any(line.split() == ["cure", *cure.split()] for line in lines)
        assert f"Cure: {cure}." in page
    assert f"about {unknown[0]['detail']['images_needed']:,} like these" in unknown[0]["cures"][0]
    assert "--margin 0.0" in unknown[0]["cures"][1]


def test_on_a_terminal_the_gate_says_which_step_of_how_many_it_is_at(
    gate_store: Path, gate_runs: Path, gate_version: Callable[[int, Path], None]
) -> None:
    gate_version(RENAMED, gate_store)
    command = [sys.executable, "-m", "export.gate", f"{RENAMED}", "--against", "1"]
    where = ["--models", str(gate_store), "--runs", str(gate_runs)]
    code, written = terminals.on_terminal([*command, *where], timeout_s=240)
    assert code == 1, written
    for step in ("1 of 15: importing TensorFlow", "2 of 15: loading version", "3 of 15: loading"):
        assert f"gate: {step}" in written
    assert "\x1b[31mFAILS" in written


def test_a_slow_version_is_refused_for_its_latency_alone(
    gate_store: Path, gate_of: Callable
) -> None:
    done = gate_of(SLOW, "--against", "1")
    assert done.returncode == 1, done.stderr
    verdict = verdict_of(gate_store, SLOW)
    assert failed(verdict) == {"latency"}
    figures = by_name(verdict)["latency"]["detail"]
    assert figures["candidate"]["median_ms"] > 3 * figures["stable"]["median_ms"]


def test_a_version_that_spends_gigabytes_on_a_small_file_is_refused(
    gate_store: Path, gate_of: Callable
) -> None:
    done = gate_of(GREEDY, "--against", "1")
    assert done.returncode == 1, done.stderr
    verdict = verdict_of(gate_store, GREEDY)
    assert failed(verdict) == {"survives"}
    survives = by_name(verdict)["survives"]
    assert "png_tEXt_claims_2_gib_before_pixels: 2" in survives["received"]
    assert survives["detail"]["hostile"]["png_text_unpacks_to_512_mib"] == []


def test_a_version_whose_process_a_callers_bytes_can_end_is_refused(
    gate_store: Path, gate_of: Callable
) -> None:
    done = gate_of(TRUSTING, "--against", "1")
    assert done.returncode == 1, done.stderr
    verdict = verdict_of(gate_store, TRUSTING)
    assert failed(verdict) == {"survives"}
    received = by_name(verdict)["survives"]["received"]
    assert f"while version {TRUSTING} answers hostile rows of classify" in received
    assert "signal 11 (SIGSEGV)" in received


def test_other_classes_and_a_large_folder_are_refused_each_by_its_check(
    gate_store: Path, gate_of: Callable
) -> None:
    card_file = gate_store / contract.MODEL_NAME / str(EQUAL) / contract.MODEL_CARD
    card = json.loads(card_file.read_text())
    card["classes"]["positive"], card["classes"]["negative"] = (
        card["classes"]["negative"],
        card["classes"]["positive"],
    )
    card_file.write_text(json.dumps(card))
    (card_file.parent.parent / "padding").write_bytes(bytes(10**6))
    (card_file.parent / "not counted").write_bytes(bytes(10**7))
    done = gate_of(EQUAL, "--max-bytes", "1000000")
    assert done.returncode == 1, done.stderr
    verdict = verdict_of(gate_store, EQUAL)
    assert failed(verdict) == {"compatible", "size"}
    assert 10**6 < by_name(verdict)["size"]["detail"]["bytes"]["candidate"] < 2 * 10**6
    assert "in place of" in by_name(verdict)["compatible"]["received"]


def test_the_first_version_passes_without_a_comparison_and_is_then_the_one_to_beat(
    gate_store: Path, gate_of: Callable
) -> None:
    done = gate_of(1, "--max-latency-ms", "1e6")
    assert done.returncode == 0, done.stderr
    verdict = verdict_of(gate_store, 1)
    assert (verdict["against"], verdict["against_sha256"], verdict["passed"]) == (None, None, True)
    checks = by_name(verdict)
    assert {name for name, check in checks.items() if check["holds"]} == {
        "survives", "finite", "latency",
    }  # fmt: skip
    skipped = [check for check in checks.values() if check["holds"] is None]
    assert {check["received"] for check in skipped} == {"skipped"}
    assert all("no other version" in check["detail"]["note"] for check in skipped)
    assert 0 < checks["robust"]["detail"]["drop"]["candidate"] < 0.5
    model_folder = gate_store / contract.MODEL_NAME
    why = "the highest one below that passed its gate"
    assert gate._against(model_folder, WORSE, None) == (1, why)
    # a verdict on other files is none
    with (model_folder / "1" / "saved_model.pb").open("ab") as file:
        file.write(b"x")
    assert gate._against(model_folder, WORSE, None)[0] == EQUAL
