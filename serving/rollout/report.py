"""What the verbs print: for people as text, for machines as JSON. The one of status is its own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from foundation.command_line import one_line
from serving.rollout.journal import Change
from serving.rollout.operation import Done
from serving.rollout.states import Plan, State, arrows


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
    return as_json({"verb": plan.verb, "states": [state.as_json() for state in plan.states]})


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
    return "\n".join([*lines, *without_label(end)])


def done_as_json(done: Done) -> str:
    """The same for machines."""
    return as_json(dataclasses.asdict(done.change))


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
    return "\n".join(table(rows))


def history_as_json(changes: Sequence[Change]) -> str:
    """The same for machines."""
    return as_json([dataclasses.asdict(change) for change in changes])


def without_label(state: State) -> list[str]:
    """A line for each version that is loaded for nobody."""
    return [
        f"  loaded without a label: {version} (retire {version} unloads it)"
        for version in state.unlabelled
    ]


def _labels(state: dict[str, Any]) -> str:
    return arrows(state["labels"], " ").replace(" → ", "→")


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, its columns below each other."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows
    ]


def as_json(content: Any, indent: int | None = 2) -> str:
    """JSON in ASCII: nothing in it can reach a terminal's controls."""
    return json.dumps(content, indent=indent)
