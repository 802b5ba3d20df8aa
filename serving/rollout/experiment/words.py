"""A verdict in words: one sentence that says why, and a table."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Final

from serving.rollout.experiment.plan import Plan
from serving.rollout.experiment.verdict import GuardrailRow, MismatchRow, Side, Verdict

NOTHING: Final = "-"
"""Where there is no number."""

TITLES: Final[Mapping[str, str]] = {
    "errors": "errors",
    "review": "sent to review",
    "slow": "slow answers",
}


def reason(plan: Plan, verdict: Verdict) -> str:
    """Why the verdict is what it is, and what to do: one sentence."""
    control, treatment = plan.control, plan.treatment
    when = "" if verdict.since is None else f"since {moment(verdict.since.time_s)}"
    if verdict.since is not None:
        when += f", after {verdict.since.outcomes:,} outcomes"
    shown = _difference(verdict)
    small = f"{100 * plan.smallest_difference:g}"
    more = "how many more outcomes it takes cannot be told"
    if min(side.outcomes for side in verdict.sides) < plan.min_outcomes:
        more = f"it takes {plan.min_outcomes:,} outcomes on each side to begin with"
    elif verdict.more_outcomes is not None:
        more = f"about {verdict.more_outcomes:,} more outcomes would decide if it stays like this"
    broken = [row for row in verdict.guardrails if row.broken]
    breaches = " and ".join(
        f"{TITLES[row.name]} {percent(row.treatment)} of exposures against {percent(row.control)}"
        + (f", at least {points(row.lower)} percentage points" if row.lower is not None else "")
        + f", where {points(row.margin)} percentage points are allowed"
        for row in broken
    )
    mismatch = verdict.mismatch
    return {
        "guardrail_broken": f"Roll {treatment} back: {breaches} ({when}).",
        "sample_ratio_mismatch": (
            f"Do not compare: {percent(mismatch.found)} of the units were on {treatment} where "
            f"{percent(mismatch.planned)} were planned, which is not chance ({when}); find out "
            "which units are lost or sent to the other side."
        ),
        "changing": (
            f"Do not decide by this: no one difference fits all looks ({when}). It has changed "
            f"during the experiment, or this is the accident of {plan.alpha:g} that the plan "
            f"allows; {shown}. See in the plot when, and plan a new experiment."
        ),
        "better": f"{treatment} is better than {control} {when}: {shown}.",
        "worse": f"{treatment} is worse than {control} {when}: {shown}.",
        "no_difference": (
            f"{treatment} and {control} differ by less than {small} points {when}: {shown}."
        ),
        "out_of_time": (
            f"Undecided after the planned {plan.max_duration_h:g} hours ({when}): {shown}."
        ),
        "keep_going": f"Keep going: {shown}; {more}.",
    }[verdict.kind]


def _difference(verdict: Verdict) -> str:
    """The difference and its interval, as half a sentence."""
    estimate, lower, upper = verdict.estimate, verdict.lower, verdict.upper
    if estimate is None:
        return "the difference is not known yet"
    if verdict.emptied is not None:
        return f"all outcomes together say {points(estimate)} percentage points"
    if lower is None or upper is None:
        return f"the difference is {points(estimate)} percentage points"
    if not lower <= estimate <= upper:  # rare: it is changing, and not yet surely
        return (
            f"the difference is {points(lower)} to {points(upper)} percentage points by all looks, "
            f"and all outcomes together say {points(estimate)}, which does not fit: it may have "
            "changed"
        )
    interval = f"({points(lower)} to {points(upper)})"
    return f"the difference is {points(estimate)} percentage points {interval}"


def guardrail_state(row: GuardrailRow) -> str:
    """What a guardrail's interval shows, and no more."""
    if row.state == "broken" and row.broken is not None:
        return f"BROKEN since {moment(row.broken.time_s)}"
    if row.state == "changing" and row.emptied is not None:
        return (
            f"no one difference fits all looks since {moment(row.emptied.time_s)}: it has changed"
        )
    if row.state == "no_harm_shown":
        return f"no harm shown (could be up to {points(row.upper)})"
    return {"holds": f"holds (at most {points(row.upper)})"}.get(row.state, "too few exposures")


def split_state(row: MismatchRow) -> str:
    """What the split shows, and no more."""
    if row.broken is not None:
        return f"MISMATCH since {moment(row.broken.time_s)}"
    return "no unit is known yet" if row.found is None else "no mismatch shown"


def table(verdict: Verdict) -> list[str]:
    """The verdict as lines of text, without the series."""
    lines = [
        f"{'':<12}{'version':>9}{'units':>10}{'exposures':>12}{'outcomes':>11}"
        f"{'right':>10}{'latency ms':>12}",
    ]
    for side in verdict.sides:
        latency = NOTHING if side.latency_s is None else f"{1000 * side.latency_s:.1f}"
        lines.append(
            f"{side.label:<12}{versions(side):>9}{side.units:>10,}{side.exposures:>12,}{side.outcomes:>11,}"
            f"{percent(side.share_right):>10}{latency:>12}"
        )
    interval = "too few outcomes for an interval"
    if verdict.emptied is not None:
        when = moment(verdict.emptied.time_s)
        interval = f"but no one difference fits all looks since {when}"
    if verdict.lower is not None:
        interval = f"{points(verdict.lower)} to {points(verdict.upper)} at every look"
    lines += ["", f"difference  {points(verdict.estimate)} points, {interval}"]
    if verdict.latency_ratio is not None:
        lines.append(f"latency     {verdict.latency_ratio:.3f} times the control's")
    lines += [
        "",
        f"{'guardrail':<16}{'control':>10}{'treatment':>11}{'at least':>10}{'at most':>9}"
        f"{'allowed':>9}  state",
    ]
    for row in verdict.guardrails:
        lines.append(
            f"{TITLES[row.name]:<16}{percent(row.control):>10}{percent(row.treatment):>11}"
            f"{points(row.lower):>10}{points(row.upper):>9}{points(row.margin):>9}  "
            f"{guardrail_state(row)}"
        )
    mismatch = verdict.mismatch
    lines += [
        "",
        f"split       {percent(mismatch.found)} of the units on the treatment, "
        f"{percent(mismatch.planned)} planned; Bayes factor 10^{mismatch.log10_bayes_factor:.1f}, "
        f"10^{mismatch.log10_threshold:.1f} would be a mismatch: "
        f"{split_state(mismatch)}",
    ]
    counts = {
        **dataclasses.asdict(verdict.counts),
        "after_now": verdict.after_now,
        "outcomes_after_the_planned_time": verdict.after_end,
    }
    odd = [
        f"{name.replace('_', ' '):<32}{count:>12,}"
        for name, count in counts.items()
        if count and name not in ("exposures", "outcomes")  # those stand above, by side
    ]
    return [*lines, "", *odd] if odd else lines


def versions(side: Side) -> str:
    """The versions that answered for a side."""
    return ", ".join(map(str, side.versions)) or NOTHING


def moment(time_s: float) -> str:
    """A Unix time in words, UTC."""
    try:
        then = datetime.datetime.fromtimestamp(time_s, datetime.timezone.utc)
    except (ValueError, OverflowError, OSError):  # no time of this calendar: a clock gone wrong
        return f"{time_s:g} s"
    return f"{then:%Y-%m-%d %H:%M} UTC"


def points(share: float | None) -> str:
    """A difference of shares in percentage points, with its sign."""
    return NOTHING if share is None else f"{100 * share:+.2f}"


def percent(share: float | None) -> str:
    """A share in percent."""
    return NOTHING if share is None else f"{100 * share:.2f} %"
