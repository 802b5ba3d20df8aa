"""One judgement of the gate: gathers the evidence, checks it, writes the verdict and its page."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export import versions
from export.gate import (
    checks as gate_checks,
    child,
    figures as gate_figures,
    images as gate_images,
    verdict as gate_verdict,
)
from export.gate.figures import CANDIDATE, STABLE, Beside
from export.gate.images import HeldOut, Version
from export.gate.verdict import FAILS, UNKNOWN, Check, Limits
from foundation import figures, terminal
from foundation.command_line import InputError, one_line
from foundation.digests import version_digest
from foundation.pages import page as foundation_page
from tfs_client import contract
from training.decision import chance

logger = logging.getLogger("export.gate")

PAGE = "gate.html"
CORRUPTED_IMAGES = 400
LATENCY_CALLS = 300
SEED = 1
"""Of the corruptions: the same for every gate, so that verdicts can be compared."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Terms:
    """How a candidate is judged."""

    limits: Limits
    data: str | None = None
    """a folder or a manifest of labelled images; None: the runs' test images"""
    corrupted_images: int = CORRUPTED_IMAGES
    """at most so many are asked with every corruption"""
    max_silence_s: float = 300
    """a version that gets no further for so long has failed"""


def judge(asked: dict[str, Version], terms: Terms, command: str) -> int:
    """Gathers the evidence, judges it and writes the verdict and its page.

    Args:
        asked: "candidate", and "stable" if there is one.
        terms: images and limits.
        command: as it was typed.

    Returns:
        the exit code: 0 passed, 1 refused.

    Raises:
        InputError: there are too few images, or a version's files changed meanwhile.
    """
    started = datetime.datetime.now(datetime.timezone.utc)
    digests = {who: version_digest(version.folder) for who, version in asked.items()}
    held_out = gate_images.held_out(list(asked.values()), terms.data)
    corrupted = gate_images.sample(held_out.images, terms.corrupted_images)
    told = [f"{count} {name}" for name, count in held_out.by_class().items()]
    few = ", ".join(told[:10]) + (", …" if len(told) > 10 else "")
    logger.info(
        "held-out images: %d (%s); %d of them corrupted too",
        *(len(held_out.images), few, len(corrupted)),
    )
    evidence = child.gather(
        asked,
        held_out.images,
        corrupted,
        seed=SEED,
        latency_calls=LATENCY_CALLS,
        max_silence_s=terms.max_silence_s,
    )
    _check_unchanged(asked, digests)
    compared = asked
    if not gate_images.comparable(list(asked.values())):
        compared = {CANDIDATE: asked[CANDIDATE]}
    checks, beside = gate_checks.all_checks(
        evidence,
        asked,
        {who: _bytes(version.folder) for who, version in asked.items()},
        terms.limits,
        lambda: gate_figures.set_beside(evidence, compared, held_out, corrupted),
    )
    verdict = {
        **_summary(asked, digests, terms.limits, checks),
        **_figures(asked, held_out, beside),
        "page": PAGE,
        "command": command,
        "started": started.isoformat(timespec="seconds"),
    }
    verdict["held_out"] |= {"corrupted": len(corrupted), "data": terms.data}
    verdict["not_shown_better_than_guessing"] = chance.doubts(verdict["metrics"][CANDIDATE] or {})
    path = asked[CANDIDATE].folder / contract.GATE_VERDICT
    _write(path, verdict, asked, held_out, evidence, beside)
    _say(checks, verdict, path)
    return 0 if verdict["passed"] else 1


def _check_unchanged(asked: dict[str, Version], digests: dict[str, str]) -> None:
    for who, version in asked.items():
        if version_digest(version.folder) != digests[who]:
            raise InputError(
                f"Expected the files of version {version.number} to stay as they are. Received: "
                "others than at the start. No verdict was written; run the gate again."
            )


def _figures(asked: dict[str, Version], held_out: HeldOut, beside: Beside | None) -> dict[str, Any]:
    """What was asked, how good the answers are, and where they disagree."""
    if beside is None:
        metrics = dict.fromkeys(asked)
    else:
        metrics = dict.fromkeys(asked) | {
            who: gate_figures.metrics(one, beside) for who, one in beside.held_out.items()
        }
    return {
        "held_out": held_out.summary(),
        "metrics": metrics,
        "disagreements": gate_figures.disagreements(beside, held_out.images) if beside else [],
    }


def _summary(
    asked: dict[str, Version], digests: dict[str, str], limits: Limits, checks: Sequence[Check]
) -> dict[str, Any]:
    """Who was judged, by whom, when, and what came of it."""
    return {
        "version": asked[CANDIDATE].number,
        "against": asked[STABLE].number if STABLE in asked else None,
        "passed": gate_verdict.passed(checks),
        "why_refused": gate_verdict.why_refused(checks),
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": figures.git_commit(),
        "machine": figures.machine(),
        "margins": dataclasses.asdict(limits),
        "version_sha256": digests[CANDIDATE],
        "against_sha256": digests.get(STABLE),
        "checks": [check.as_json() for check in checks],
    }


def _bytes(folder: Path) -> int:
    """Of everything in a version's folder but assets.extra."""
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] != versions.EXTRA_ASSETS
    )


def _write(
    path: Path,
    verdict: dict[str, Any],
    asked: dict[str, Version],
    held_out: HeldOut,
    evidence: child.Evidence,
    beside: Beside | None,
) -> None:
    """Writes page and verdict, each aside and then renamed; the verdict last."""
    from export.gate import (
        page,
    )  # scikit-learn and matplotlib: not before there is something to draw

    path.parent.mkdir(exist_ok=True)
    page.write(path.with_name(PAGE), verdict, asked, held_out.images, evidence, beside)
    figures.write_json(path, verdict)
    foundation_page.list_page(path.with_name(PAGE))


def _say(checks: Sequence[Check], verdict: dict[str, Any], path: Path) -> None:
    def tell(text: str) -> None:
        print(one_line(text), file=sys.stderr)

    width = max(len(check.name) for check in checks)
    for check in checks:
        told = check.received if check.expected else check.detail["note"]
        word = terminal.judged(check.word, sys.stderr, 11)
        print(f"  {check.name:<{width}}  {word}  {one_line(told)}", file=sys.stderr)
        if check.state in (FAILS, UNKNOWN):
            tell(f"  {'':<{width}}  {'expected':<11}  {check.expected}")
        for cure in check.cures:
            tell(f"  {'':<{width}}  {'cure':<11}  {cure}")
    for doubt in verdict["not_shown_better_than_guessing"]:
        tell(f"  warning: not shown to be better than guessing, on these images: {doubt}")
    page = path.with_name(PAGE)
    but = (
        ", though not shown to be better than guessing"
        if verdict["not_shown_better_than_guessing"]
        else ""
    )
    last = f"passed{but}" if verdict["passed"] else f"refused: {verdict['why_refused']}; see {page}"
    tell(last)
    print(path)
