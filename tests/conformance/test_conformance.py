"""The local server held against the whole conformance table."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from foundation.pages import page
from tests.conformance import run, verdicts, whole_table
from tests.conformance.case import Http, Source
from tests.conformance.local import LocalServer
from tests.conformance.verdicts import Verdict
from tests.house.pages import whole

CASES = whole_table.cases()

Verdicts = Callable[[str], Verdict]


@pytest.fixture(scope="module")
def verdict(request: pytest.FixtureRequest) -> Verdicts:
    """The verdict on a case; each is asked once."""
    known: dict[str, Verdict] = {}

    def find(key: str) -> Verdict:
        if key not in known:
            server = request.getfixturevalue(f"{CASES[key].setup}_server")
            known[key] = verdicts.run(key, CASES[key], server)
        return known[key]

    return find


@pytest.mark.parametrize("key", CASES)
def test_the_local_server_answers_as_the_table_says(verdict: Verdicts, key: str) -> None:
    found = verdict(key)

    if key in whole_table.DIFFERS:
        assert all(found.codes_that_hold), _shown(found)
        assert not found.holds, "It does not differ any more: take it out of DIFFERS"
    else:
        assert found.holds, _shown(found)


def test_what_differs_on_purpose_says_why_and_what_ends_a_server_is_not_asked_of_others() -> None:
    own = {key: case for key, case in CASES.items() if case.source is Source.OWN}

    assert all(case.why for case in own.values())
    assert all(not case.why for key, case in CASES.items() if key not in own)
    assert all(key in own for key, case in CASES.items() if case.ends)
    assert len(own) <= 20


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"instances": [1.0, 2.0]}', '{\n    "predictions": [3.5, 4.0\n    ]\n}'),
        ('{"inputs": [1.0, 2.0]}', '{\n    "outputs": [\n        3.5,\n        4.0\n    ]\n}'),
        ("{}", "{\n    \"error\": \"Missing 'inputs' or 'instances' key\"\n}"),
    ],
    ids=["rows", "columns", "error"],
)
def test_rest_is_laid_out_to_the_letter_as_the_real_server_lays_it_out(
    default_server: LocalServer, body: str, text: str
) -> None:
    # The table folds white space; these three answers were recorded with it.
    found = default_server.ask(Http("POST", "/v1/models/affine:predict", body))

    assert found["body"] == text


def test_the_page_shows_every_case(
    verdict: Verdicts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    now = datetime.datetime.now(datetime.timezone.utc)
    origin = page.origin("python -m tests.conformance.run", now)
    run.write_cases([verdict(key) for key in CASES], origin, other=False)
    text = whole(Path("build/conformance.html"), "Conformance of the local server")
    assert text.count("<details") == len(CASES)


def test_the_table_is_large_and_what_differs_has_a_reason() -> None:
    assert len(CASES) >= 150
    assert set(whole_table.DIFFERS) <= set(CASES)
    assert all(whole_table.DIFFERS.values())


def _shown(found: Verdict) -> str:
    lines = []
    for step, received, holds in zip(
        found.case.steps, found.received, found.steps_that_hold, strict=True
    ):
        if not holds:
            lines += [f"request  {step.request}", f"expected {step.expected}"]
            lines += [f"received {json.dumps(received, ensure_ascii=False)}"]
    return "\n".join(lines)
