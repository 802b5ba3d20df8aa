"""What the verbs print: for people as text, for machines as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from foundation.command_line import one_line
from serving.fleet.fleet import Seen
from serving.rollout.journal import Change
from serving.rollout.operation import Done
from serving.rollout.states import Plan, State, arrows


@dataclass(frozen=True, kw_only=True)
class Status:
    """The file and the servers, side by side."""

    model: str
    place: str
    """Where models.config lies, as people call it."""
    state: State
    servers: tuple[Seen, ...]
    pending: Change | None
    operator: str | None
    """Who is at work now, in words."""

    @property
    def agrees(self) -> bool:
        """Whether every server serves what the file says."""
        return all(not disagreements(self.state, seen) for seen in self.servers)


def disagreements(state: State, seen: Seen) -> list[str]:
    """Where a server differs from the file, in words."""
    if seen.error:
        return [seen.error]
    found = {row.version: row for row in seen.versions}
    said = []
    for version in state.versions:
        row = found.get(version)
        if row is None or not row.available:
            told = "unknown" if row is None else f"{row.state} {row.error}".strip()
            said.append(f"version {version} is {told}")
    for version, row in found.items():
        if row.available and version not in state.versions:
            said.append(f"version {version} is loaded, and not in the file")
    for label, version in state.labels.items():
        if seen.labels.get(label) != version:
            answered = seen.labels.get(label)
            said.append(f"{label} → {answered or 'no answer'}, and {version} in the file")
    return said


def status_as_text(status: Status) -> str:
    """A table of servers below what the file says."""
    lines = [one_line(f"{status.model} in {status.place}: {status.state}")]
    state = status.state
    if state.canary is not None:
        lines.append(f"  on trial: {state.canary} beside {state.stable}")
    if state.previous is not None:
        lines.append(f"  to go back to: {state.previous}")
    lines += _without_label(state)
    rows = [("server", "versions", "labels", "")]
    for seen in status.servers:
        versions = ", ".join(
            str(row.version) if row.available else f"{row.version} {row.state}"
            for row in seen.versions
            if row.state != "END" or row.version in state.versions
        )
        labels = arrows(seen.labels)
        wrong = disagreements(state, seen)
        rows.append(
            (seen.address, versions or "-", labels or "-", "; ".join(wrong) or "as the file")
        )
    lines += ["", *_table(rows)]
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


def status_as_json(status: Status) -> str:
    """The same for machines."""
    return _json(
        {
            "model": status.model,
            "config": status.place,
            "state": status.state.as_json(),
            "agrees": status.agrees,
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
            "pending": None if status.pending is None else dataclasses.asdict(status.pending),
            "operator": status.operator,
        }
    )


def plan_as_text(plan: Plan) -> str:
    """The states, one a line, and what comes of them."""
    if len(plan.states) == 1:
        return f"Nothing to do: {plan.start}"
    lines = [f"  now   {plan.start}"]
    lines += [f"  then  {state}" for state in plan.states[1:]]
    if plan.gate:
        lines.append(f"  gate  {plan.gate}")
    return "\n".join([*lines, f"Afterwards {plan.says}. Nothing was changed (--dry-run)."])


def plan_as_json(plan: Plan) -> str:
    """The same for machines."""
    return _json({"verb": plan.verb, "states": [state.as_json() for state in plan.states]})


def done_as_text(done: Done) -> str:
    """One sentence, and the state."""
    change, end = done.change, done.plan.end
    if change.seconds is None:
        return f"Nothing to do, {done.plan.says}: {end}"
    count = len(change.servers)
    told = {"rpc": "told by RPC", "file": "by their polling of the file"}.get(change.by, change.by)
    lines = [
        f"Done, {done.plan.says}.",
        f"  {end}",
        f"  seen at {count} {'server' if count == 1 else 'servers'}, {told}, "
        f"in {change.seconds:.2f} s",
    ]
    return "\n".join([*lines, *_without_label(end)])


def done_as_json(done: Done) -> str:
    """The same for machines."""
    return _json(dataclasses.asdict(done.change))


def history_as_text(changes: Sequence[Change]) -> str:
    """One line a change, the oldest first."""
    if not changes:
        return "No changes yet."
    rows = [("time", "who", "verb", "outcome", "seconds", "by", "labels before", "after", "why")]
    for change in changes:
        after = change.after if change.outcome in ("done", "incomplete") else change.before
        notes = [change.why, f"gate: {change.gate}" if change.gate else "", change.error]
        rows.append(
            (
                change.time,
                change.who,
                change.words,
                change.outcome,
                "-" if change.seconds is None else f"{change.seconds:.2f}",
                change.by or "-",
                _labels(change.before),
                _labels(after),
                "; ".join(note for note in notes if note) or "-",
            )
        )
    return "\n".join(_table(rows))


def history_as_json(changes: Sequence[Change]) -> str:
    """The same for machines."""
    return _json([dataclasses.asdict(change) for change in changes])


def _without_label(state: State) -> list[str]:
    return [
        f"  loaded without a label: {version} (retire {version} unloads it)"
        for version in state.unlabelled
    ]


def _labels(state: dict[str, Any]) -> str:
    return arrows(state["labels"], " ").replace(" → ", "→")


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows
    ]


def _json(content: Any) -> str:
    return json.dumps(content, indent=2)  # ASCII: nothing in it can reach a terminal's controls
