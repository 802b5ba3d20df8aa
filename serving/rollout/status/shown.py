"""A status as people read it, and as JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

from foundation.command_line import one_line
from serving.rollout.journal import Change
from serving.rollout.report import as_json, table, without_label
from serving.rollout.states import arrows
from serving.rollout.status.looking import Status, disagreements
from serving.rollout.status.past import Past, in_words
from serving.rollout.status.traffic import Row, Traffic, percent


def as_text(status: Status) -> str:
    """What the file says, what has changed, a table of servers, and the traffic."""
    lines = []
    if not status.answering:
        lines.append(f"No server answers: 0 of {len(status.servers)}.")
        lines += [status.cluster_instead] if status.cluster_instead else []
    where = status.place + (f" in {status.cluster}" if status.cluster else "")
    lines.append(one_line(f"{status.model} in {where}: {status.state}"))
    state = status.state
    if state.canary is not None:
        age_s = status.past.trial_age_s
        since = "" if age_s is None else f", for {in_words(age_s)}"
        lines.append(f"  on trial: {state.canary} beside {state.stable}{since}")
    if state.previous is not None:
        lines.append(f"  to go back to: {state.previous}")
    lines += without_label(state)
    lines += _past(status.past)
    lines += ["", *_servers(status)]
    if status.traffic is not None:
        lines += ["", *_traffic(status.traffic)]
    if status.operator is not None:
        lines += ["", f"At work: {status.operator}."]
    elif status.pending is not None:
        left = status.pending
        lines += [
            "",
            f"Left behind: {left.words} by {left.who}, begun {left.time}, was "
            "killed. The same command goes on with it; any other undoes it first.",
        ]
    return "\n".join(lines)


def _past(past: Past) -> list[str]:
    if past.last is None:
        lines = ["  last change: none in the history"]
    else:
        lines = [f"  last change: {_change(past.last, past.last_age_s, past.gate)}"]
    if past.effective is not None:
        took = _change(past.effective, past.effective_age_s, past.gate)
        lines.append(f"  in effect:   {took}")
    if past.edited:
        lines.append("  edited since then, and not by a rollout: the file says something else")
    if past.unreadable:
        lines.append(f"  lines of the history that cannot be read: {past.unreadable}")
    return lines


def _change(change: Change, age_s: float | None, gate: str) -> str:
    """One change: what, when, by whom, how it ended, the gate, why."""
    effective = change.outcome in ("done", "incomplete")
    gate = gate if effective else change.gate
    said = [f"{change.words}, {in_words(age_s)} ago, by {change.who}"]
    if change.outcome != "done":
        said.append(f"{change.outcome or 'not ended'} ({change.error or 'no error'})")
    if gate:
        said.append(f"gate {gate}")
    if change.why:
        said.append(f"why: {change.why}")
    return one_line("; ".join(said))


def _servers(status: Status) -> list[str]:
    if not status.servers:
        return ["No server is running."]
    rows = [("server", "versions", "labels", "")]
    for seen in status.servers:
        versions = ", ".join(
            str(row.version) if row.available else f"{row.version} {row.state}"
            for row in seen.versions
            if row.state != "END" or row.version in status.state.versions
        )
        labels = arrows(seen.labels)
        wrong = disagreements(status.state, seen)
        rows.append(
            (seen.address, versions or "-", labels or "-", "; ".join(wrong) or "as the file")
        )
    return table(rows)


def _traffic(traffic: Traffic) -> list[str]:
    head = f"traffic of the last {in_words(traffic.window_s)}, from {traffic.prometheus}"
    if traffic.error:
        return [one_line(f"{head}: {traffic.error}")]
    rows: list[tuple[str, ...]] = [
        ("version", "asked by", "share", "calls/s", "errors", "p50 ms", "p95 ms")
    ]
    rows += [_row(row) for row in traffic.versions]
    if traffic.servers is not None:
        rows.append(_row(traffic.servers))
    lines = [one_line(head)]
    if len(rows) > 1:
        lines += table(rows)
    return lines + [one_line(f"  {note}") for note in traffic.notes]


def _row(row: Row) -> tuple[str, ...]:
    labels = ", ".join(label or "(no label)" for label in row.labels) or "-"
    return (
        "all, at the servers" if row.version is None else str(row.version),
        "-" if row.version is None else labels,
        "-" if row.share is None else percent(row.share),
        f"{row.per_s:,.2f}",
        "-" if row.errors is None else percent(row.errors),
        *("-" if value is None else f"{value:,.1f}" for value in (row.p50_ms, row.p95_ms)),
    )


def as_dict(status: Status) -> dict[str, Any]:
    """The same for machines: plain types, and null for what is not known."""
    past = status.past
    return {
        "time": status.time,
        "model": status.model,
        "config": status.place,
        "cluster": status.cluster or None,
        "state": status.state.as_json(),
        "agrees": status.agrees,
        "answering": status.answering,
        "cluster_instead": status.cluster_instead or None,
        "on_trial": None
        if status.state.canary is None
        else {"version": status.state.canary, "age_s": past.trial_age_s},
        "last_change": _change_as_dict(past.last, past.last_age_s),
        "in_effect": _change_as_dict(past.effective, past.effective_age_s)
        or _change_as_dict(past.last, past.last_age_s),
        "gate": past.gate or None,
        "edited": past.edited,
        "unreadable_history_lines": past.unreadable,
        "servers": [
            {
                "address": seen.address,
                "error": seen.error,
                "versions": [dataclasses.asdict(row) for row in seen.versions],
                "labels": dict(seen.labels),
                "disagreements": disagreements(status.state, seen),
            }
            for seen in status.servers
        ],
        "traffic": None if status.traffic is None else dataclasses.asdict(status.traffic),
        "pending": None if status.pending is None else dataclasses.asdict(status.pending),
        "operator": status.operator,
    }


def _change_as_dict(change: Change | None, age_s: float | None) -> dict[str, Any] | None:
    if change is None:
        return None
    return {**dataclasses.asdict(change), "age_s": age_s}


def as_json_text(status: Status, *, in_one_line: bool = False) -> str:
    """as_dict as JSON."""
    return as_json(as_dict(status), None if in_one_line else 2)
