"""Figures, their bars and their file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from foundation import figures


def test_figures_hold_their_bars_or_say_so(tmp_path: Path) -> None:
    result = figures.Figures("demo", "make demo")
    result.add("fast", 3.0, "s", at_most=3)
    result.add("right", 0.9, "", at_least=0.8, at_most=1)
    result.add("noted", "text", "")
    assert result.write(tmp_path) == 0
    result.add("not measured", float("nan"), "s", at_most=3)
    assert result.write(tmp_path) == 1
    written = json.loads((tmp_path / "demo.json").read_text())
    assert {"name", "command", "commit", "machine", "started", "results"} == set(written)
    assert [entry["holds"] for entry in written["results"]] == [True, True, None, False]
    assert written["results"][3]["value"] is None  # JSON has no NaN
    assert written["results"][1]["bar"] == "<= 1 and >= 0.8"


def test_a_bar_that_the_value_does_not_tell_is_unknown_and_does_not_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = figures.Figures("demo", "make demo")
    result.add("worse", 0, "answers", at_most=0, unknown=True)
    assert result.write(tmp_path) == 1
    assert capsys.readouterr().err == "  worse  0 answers  bar <= 0: unknown\n"
    written = json.loads((tmp_path / "demo.json").read_text())
    assert [(one["bar"], one["holds"]) for one in written["results"]] == [("<= 0", None)]
    assert [one.verdict for one in result.results] == ["unknown"]


@pytest.mark.parametrize("value", [4.0, None, "3"])
def test_a_figure_past_its_bar_or_missing_fails(value: object, tmp_path: Path) -> None:
    result = figures.Figures("demo", "make demo")
    result.add("slow", value, "s", at_most=3)
    assert result.write(tmp_path) == 1


def test_json_is_written_aside_and_renamed(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    figures.write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        figures.write_json(path, {"new": object()})
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_what_files_and_servers_are_called_cannot_move_the_cursor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = figures.Figures("demo", "make demo")
    result.add("worst\x1b[2J", "a\x9bb\nc", "\u202e")
    result.write(tmp_path)
    told = capsys.readouterr().err
    assert told == "  worst\\x1b[2J  a\\x9bb\\nc \\u202e\n"


NUMBERS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)


@given(
    st.recursive(
        NUMBERS | st.text() | st.just('",\n 1,\n 2\n]'),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_is_written_is_read_back_whatever_it_is(
    tmp_path_factory: pytest.TempPathFactory, content: object
) -> None:
    path = tmp_path_factory.mktemp("json") / "content.json"
    figures.write_json(path, content)
    assert json.loads(path.read_text(encoding="utf-8")) == figures.finite(content)


def test_lists_of_numbers_take_a_line_each(tmp_path: Path) -> None:
    content = {"confusion": [[10, -2], [0.5, None]], "names": ["a", "b"], "none": []}
    figures.write_json(tmp_path / "content.json", content)
    assert (tmp_path / "content.json").read_text().splitlines() == [
        "{",
        '  "confusion": [',
        "    [10, -2],",
        "    [0.5, null]",
        "  ],",
        '  "names": [',
        '    "a",',
        '    "b"',
        "  ],",
        '  "none": []',
        "}",
    ]
