"""The checks of the gate: evidence in, one verdict a check out. Asks nothing and writes nothing."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

from export.gate import (
    comparisons,
    corruptions,
    evidence as gate_evidence,
    signatures as gate_signatures,
    timing,
)
from export.gate.child import Evidence
from export.gate.figures import CANDIDATE, STABLE, Beside
from export.gate.images import Version, comparable
from export.gate.verdict import FAILS, HOLDS, UNKNOWN, Check, Limits, not_reached, skipped, state_of

NAMES = (
    "survives",
    "compatible",
    "finite",
    "not_worse.balanced_accuracy",
    "not_worse.roc_auc",
    "robust",
    "size",
    "latency",
)
"""Of two classes."""

NAMES_OF_MANY = tuple(
    "not_worse.log_likelihood" if name == "not_worse.roc_auc" else name for name in NAMES
)

OTHER_CLASSES = "the versions have different classes: their answers cannot be compared"


def survives(evidence: Evidence) -> Check:
    """Whether the process that asked the versions came to its end, and hostile rows cost little."""
    costly = [f"{name}: {', '.join(faults)}" for name, faults in evidence.hostile.items() if faults]
    more = f"; and {len(costly) - 3} more" if len(costly) > 3 else ""
    return Check(
        name="survives",
        state=state_of(evidence.ended is None and not costly),
        expected="the process that asks the versions comes to its end; no hostile row costs it "
        "much or harms another",
        received=evidence.ended or "; ".join(costly[:3]) + more or "it did",
        detail={
            "hostile": evidence.hostile,
            "note": f"{len(evidence.hostile)} hostile rows asked" if evidence.hostile else "",
        },
    )


def compatible(evidence: Evidence, asked: dict[str, Version]) -> Check:
    """Whether whoever calls the stable version can call the candidate in its place."""
    assert evidence.signatures is not None
    problems = gate_signatures.lacking(evidence.signatures[CANDIDATE])
    notes: list[str] = []
    expected = "the contract's signatures"
    if STABLE in asked:
        stable = asked[STABLE]
        expected = f"signatures and class names of version {stable.number}"
        for problem in gate_signatures.lacking(evidence.signatures[STABLE]):
            problems.append(f"version {stable.number} itself cannot be asked: {problem}")
        found, notes = gate_signatures.differences(
            evidence.signatures[STABLE], evidence.signatures[CANDIDATE]
        )
        problems += [problem for problem in found if problem not in problems]
        if asked[CANDIDATE].class_names != stable.class_names:
            problems.append(_other_classes(asked[CANDIDATE].class_names, stable.class_names))
    elif not problems:
        return skipped("compatible")
    return Check(
        name="compatible",
        state=state_of(not problems),
        expected=expected,
        received="; ".join(problems) or "the same",
        detail={"problems": problems, "note": "; ".join(notes)},
    )


def _other_classes(candidate: tuple[str, ...], stable: tuple[str, ...]) -> str:
    """How the candidate's classes differ, in words."""
    if max(len(candidate), len(stable)) == 2:
        return f"classes {' | '.join(candidate)} in place of {' | '.join(stable)}"
    changes = []
    for verb, names in (
        ("without", [name for name in stable if name not in candidate]),
        ("with", [name for name in candidate if name not in stable]),
    ):
        if names:
            changes.append(f"{verb} {', '.join(names[:5])}{', …' if len(names) > 5 else ''}")
    how = " and ".join(changes) or "in another order"
    return f"{len(candidate)} classes in place of {len(stable)}, {how}"


def finite(evidence: Evidence, candidate: Version) -> Check:
    """Whether every row that calls itself valid has a probability and a label that can be used."""
    counts: dict[str, dict[str, int]] = {}
    kinds = [f"{gate_evidence.CORRUPTED}.{kind}" for kind in corruptions.KINDS]
    for pictures in (gate_evidence.HELD_OUT, *kinds, gate_evidence.EDGE):
        for signature in gate_evidence.SIGNATURES:
            answers = evidence.answers(CANDIDATE, pictures, signature)
            probability = answers.probability[answers.valid.astype(bool)]
            label = answers.label[answers.valid.astype(bool)]
            numbers = np.isfinite(probability)
            counts[f"{pictures} by {signature}"] = {
                "rows": len(answers.valid),
                "valid": len(probability),
                "without a number": int(np.sum(~numbers)),
                "outside 0-1": int(np.sum(np.abs(probability[numbers] - 0.5) > 0.5)),
                "with an unknown label": int(np.sum(~np.isin(label, candidate.class_names))),
            }
    faults = ("without a number", "outside 0-1", "with an unknown label")
    found = [
        f"{count[fault]} of {count['valid']} {fault}: {where}"
        for where, count in counts.items()
        for fault in faults
        if count[fault]
    ]
    rows = sum(count["valid"] for count in counts.values())
    return Check(
        name="finite",
        state=state_of(not found),
        expected="every valid row with a probability in 0-1 and one of the labels",
        received="; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")
        if found
        else f"{rows} valid rows, none without",
        detail={"counts": counts, "note": ""},
    )


def size(sizes: dict[str, int], asked: dict[str, Version], limits: Limits) -> Check:
    """Whether the version's folder, without assets.extra, stays small enough.

    Args:
        sizes: "candidate" and "stable" -> bytes.
        asked: the versions.
        limits: of them max_bytes_ratio and max_bytes.
    """
    ours = sizes[CANDIDATE]
    parts = []
    if STABLE in sizes:
        ratio = ours / sizes[STABLE]
        parts.append(
            _Part(
                state=state_of(ratio <= limits.max_bytes_ratio),
                expected=f"{limits.max_bytes_ratio:g} times version {asked[STABLE].number}",
                received=f"{ratio:.2f} times, {ours:,} bytes against {sizes[STABLE]:,}",
            )
        )
    if limits.max_bytes is not None:
        parts.append(
            _Part(
                state=state_of(ours <= limits.max_bytes),
                expected=f"{limits.max_bytes:,} bytes",
                received=f"{ours:,} bytes",
            )
        )
    return _at_most("size", parts, {"bytes": sizes})


def latency(evidence: Evidence, asked: dict[str, Version], limits: Limits) -> Check:
    """Whether one file through serving_default is answered fast enough."""
    spent = {who: evidence.latency_ms(who) for who in asked}
    figures = {
        who: {
            "median_ms": statistics.median(one.tolist()),
            "p95_ms": float(np.percentile(one, 95)),
            "calls": len(one),
        }
        for who, one in spent.items()
    }
    ours = figures[CANDIDATE]
    parts: list[_Part] = []
    intervals: dict[str, timing.Interval] = {}
    if STABLE in asked:
        found = intervals["ratio"] = timing.ratio_of_medians(spent[CANDIDATE], spent[STABLE])
        parts.append(
            _timed(
                found,
                limits.max_latency_ratio,
                expected=f"{limits.max_latency_ratio:g} times version {asked[STABLE].number} in "
                "the median",
                received=f"{found.value:,.2f} times ({found.lower:,.2f} to {found.upper:,.2f}), "
                f"{ours['median_ms']:,.2f} ms against {figures[STABLE]['median_ms']:,.2f} ms",
                flag="--max-latency-ratio",
            )
        )
    if limits.max_latency_ms is not None:
        found = intervals["p95_ms"] = timing.percentile(spent[CANDIDATE], 95)
        parts.append(
            _timed(
                found,
                limits.max_latency_ms,
                expected=f"{limits.max_latency_ms:g} ms in the 95th percentile",
                received=f"{found.value:,.2f} ms ({found.lower:,.2f} to {found.upper:,.2f})",
                flag="--max-latency-ms",
            )
        )
    bounds = {name: dataclasses.asdict(one) for name, one in intervals.items()}
    return _at_most("latency", parts, {**figures, "intervals": bounds})


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Part:
    """One limit of several."""

    state: str
    expected: str
    received: str
    cures: tuple[str, ...] = ()


def _timed(
    found: timing.Interval, limit: float, *, expected: str, received: str, flag: str
) -> _Part:
    """Holds where the whole interval is within the limit, fails where none of it is."""
    if found.upper <= limit or found.lower > limit:
        return _Part(state=state_of(found.upper <= limit), expected=expected, received=received)
    enough = math.ceil(100 * found.upper) / 100
    cures = (
        "a quieter machine, on which the times spread less",
        f"another limit: {flag} {enough:g} would hold",
    )
    return _Part(state=UNKNOWN, expected=expected, received=received, cures=cures)


def _at_most(name: str, parts: list[_Part], figures: dict[str, Any]) -> Check:
    if not parts:
        return skipped(name, **figures)
    states = [part.state for part in parts]
    return Check(
        name=name,
        state=next((state for state in (FAILS, UNKNOWN) if state in states), HOLDS),
        expected="at most " + ", ".join(part.expected for part in parts),
        received=", ".join(part.received for part in parts),
        detail={**figures, "note": ""},
        cures=tuple(cure for part in parts for cure in part.cures),
    )


def all_checks(
    evidence: Evidence,
    asked: dict[str, Version],
    sizes: dict[str, int],
    limits: Limits,
    set_beside: Callable[[], Beside],
) -> tuple[list[Check], Beside | None]:
    """Makes every check that the evidence allows.

    Args:
        evidence: of the process that asked.
        asked: "candidate", and "stable" if there is one.
        sizes: bytes of both.
        limits: to hold them against.
        set_beside: gives the answers beside the truth; called only if there are answers.

    Returns:
        the checks in the order of NAMES, and what set_beside gave, None if it was not called.
    """
    names = NAMES if len(asked[CANDIDATE].class_names) == 2 else NAMES_OF_MANY
    made = [survives(evidence)]
    why = "the process that asked the versions ended before"
    beside = None
    if evidence.signatures is not None:
        made.append(compatible(evidence, asked))
        why = "a version lacks signatures without which it cannot be asked"
    if evidence.arrays is not None:
        beside = set_beside()
        made.append(finite(evidence, asked[CANDIDATE]))
        if comparable(list(asked.values())):
            made += comparisons.not_worse(beside, limits)
            made.append(comparisons.robust(beside, limits))
        else:
            made += [not_reached(name, OTHER_CLASSES) for name in names[3:6]]
        made.append(size(sizes, asked, limits))
        made.append(latency(evidence, asked, limits))
    return made + [not_reached(name, why) for name in names[len(made) :]], beside
