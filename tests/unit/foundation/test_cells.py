"""Cells of CSV files: no formula, and the same text again."""

from __future__ import annotations

import csv
import io

import pytest

from foundation import cells

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "'=1", "''@x", "-"]
PLAIN = ["", "a.png", "'", "'a", "''", "a=1", " =1", "'a=1", "ok-1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_becomes_text_and_is_read_back(text: str) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerow([cells.as_text(text)])
    (row,) = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert row[0].startswith("'")
    assert cells.text_of(row[0]) == text


@pytest.mark.parametrize("text", PLAIN)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert cells.as_text(text) == text
    assert cells.text_of(text) == text


def test_files_of_before_are_read_as_they_are() -> None:
    assert [cells.text_of(text) for text in ("-1.png", "=x", "@y")] == ["-1.png", "=x", "@y"]
