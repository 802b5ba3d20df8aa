"""The whole conformance table, and where the local server is known to answer otherwise."""

from __future__ import annotations

from typing import Final

from tests.conformance.case import Case, Subject
from tests.conformance.table import (
    dtypes,
    examples,
    flags,
    malformed,
    metadata_status,
    multi_inference,
    predict_answers,
    predict_refused,
    reload,
    rest_examples,
    rest_json,
    rest_pages,
    rest_predict,
    rest_refused,
)

SUBJECTS: Final[tuple[Subject, ...]] = (
    predict_answers.SUBJECT,
    predict_refused.SUBJECT,
    dtypes.SUBJECT,
    metadata_status.METADATA,
    metadata_status.STATUS,
    examples.CLASSIFY,
    examples.REGRESS,
    multi_inference.SUBJECT,
    rest_pages.PAGES,
    rest_pages.PATHS,
    rest_predict.SUBJECT,
    rest_predict.LAYOUT,
    rest_refused.NAMES,
    rest_json.SUBJECT,
    rest_refused.VALUES,
    rest_examples.SUBJECT,
    malformed.SUBJECT,
    flags.BATCHING,
    flags.FLAGS,
    reload.SUBJECT,
)

DIFFERS: Final[dict[str, str]] = {}
"""`subject: case` → why the local server's answer differs, though its code does not."""


def cases() -> dict[str, Case]:
    """`subject: case` → the case."""
    found = {f"{s.name}: {case.name}": case for s in SUBJECTS for case in s.cases}
    assert len(found) == sum(len(subject.cases) for subject in SUBJECTS), "a name is there twice"
    return found
