"""tfs shadow-report: agreement with a shadow, from the files of a ShadowLog. Asks no server."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from tfs_client.cli.inputs import unreadable
from tfs_client.cli.output import print_json, print_table, say
from tfs_client.shadow.comparisons import Comparison

SHOWN: Final = 20
"""Disagreements listed for each pair of versions."""

Z: Final = 1.959963984540054
"""95 % of a normal distribution lie within so many standard deviations."""

_FIELDS: Final = frozenset(field.name for field in dataclasses.fields(Comparison))
_NUMBERS: Final = ("primary_version", "shadow_version", "primary_latency_s", "shadow_latency_s")
_TEXTS: Final = ("request_id", "model", "shadow", "primary_label", "shadow_label", "error")
_PERCENTILES: Final = (50, 95)


class Pair(NamedTuple):
    """The two versions that are compared."""

    model: str
    primary_version: int
    shadow: str
    shadow_version: int


@dataclasses.dataclass
class Tally:
    """The sums of one pair's comparisons."""

    agreed: int = 0
    compared: int = 0
    differences: list[float] = dataclasses.field(default_factory=list)
    primary_s: list[float] = dataclasses.field(default_factory=list)
    shadow_s: list[float] = dataclasses.field(default_factory=list)
    disagreements: list[Comparison] = dataclasses.field(default_factory=list)

    def add(self, one: Comparison) -> None:
        """Adds one comparison."""
        self.compared += 1
        self.agreed += bool(one.agree)
        self.primary_s.append(one.primary_latency_s)
        self.shadow_s.append(one.shadow_latency_s)
        if one.max_difference is not None:
            self.differences.append(one.max_difference)
        if not one.agree and len(self.disagreements) < SHOWN:
            self.disagreements.append(one)


def shadow_report(arguments: argparse.Namespace) -> int:
    """`tfs shadow-report`: agreement, differences and latencies for each pair of versions."""
    figures = report(arguments.file)
    if arguments.json:
        print_json(figures)
    else:
        _print(figures)
    return 0


def report(files: Sequence[Path]) -> dict[str, Any]:
    """All figures, as --json prints them.

    Raises:
        RequestError: a file cannot be read.
    """
    torn, mirrored = 0, 0
    failures: collections.Counter[str] = collections.Counter()
    tallies: dict[Pair, Tally] = collections.defaultdict(Tally)
    for file in files:
        for line in _lines(file):
            one = _comparison(line)
            if one is None:
                torn += 1
                continue
            mirrored += 1
            if one.error:
                failures[one.error] += 1
            else:
                pair = Pair(one.model, one.primary_version, one.shadow, one.shadow_version)
                tallies[pair].add(one)
    return {
        "mirrored": mirrored,
        "compared": mirrored - failures.total() if mirrored else 0,
        "failed": dict(failures.most_common()),
        "torn_lines": torn,
        "pairs": [_figures(pair, tallies[pair]) for pair in sorted(tallies)],
    }


def _lines(file: Path) -> Iterator[str]:
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            yield from lines
    except OSError as error:
        raise unreadable("a file that a ShadowLog has written", file, error) from error


def _comparison(line: str) -> Comparison | None:
    """The comparison in a line; None where the line was torn, or holds something else."""
    try:
        found = json.loads(line)
        one = Comparison(**{name: found[name] for name in found if name in _FIELDS})
    except (ValueError, TypeError, RecursionError):
        return None
    texts = all(isinstance(getattr(one, name), str) for name in _TEXTS)
    numbers = all(_is_number(getattr(one, name)) for name in _NUMBERS)
    floats = (one.primary_probability, one.shadow_probability, one.max_difference)
    optional = all(value is None or _is_number(value) for value in floats)
    told = isinstance(one.agree, bool) or bool(one.error)
    return one if texts and numbers and optional and told else None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a share, after E. B. Wilson, 1927.

    Args:
        hits: the number of successes.
        trials: the number of trials, above 0.
    """
    share, weight = hits / trials, Z**2 / trials
    middle = share + weight / 2
    width = Z * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    low, high = (middle - width) / (1 + weight), (middle + width) / (1 + weight)
    # Without hits the lower end is exactly 0, with hits alone the upper end exactly 1.
    return (low if hits else 0.0), (high if hits < trials else 1.0)


def _figures(pair: Pair, tally: Tally) -> dict[str, Any]:
    low, high = wilson(tally.agreed, tally.compared)
    primary, shadow = _latencies_ms(tally.primary_s), _latencies_ms(tally.shadow_s)
    return {
        **pair._asdict(),
        "compared": tally.compared,
        "agreed": tally.agreed,
        "agreement": round(tally.agreed / tally.compared, 6),
        "agreement_95": [round(low, 6), round(high, 6)],
        "max_difference": max(tally.differences, default=None),
        "mean_difference": math.fsum(tally.differences) / len(tally.differences)
        if tally.differences
        else None,
        "primary_latency_ms": primary,
        "shadow_latency_ms": shadow,
        "latency_ratio": {
            name: round(shadow[name] / primary[name], 3) if primary[name] else None
            for name in primary
        },
        "disagreements": [dataclasses.asdict(one) for one in tally.disagreements],
    }


def _latencies_ms(seconds: Iterable[float]) -> dict[str, float]:
    found = np.percentile(list(seconds), _PERCENTILES)
    return {f"p{name}": round(1000 * float(value), 3) for name, value in zip(_PERCENTILES, found)}


def _print(figures: dict[str, Any]) -> None:
    failed = sum(figures["failed"].values())
    classes = ", ".join(f"{name}: {count}" for name, count in figures["failed"].items())
    rows = [
        ("mirrored", str(figures["mirrored"])),
        ("failed", f"{failed} ({classes})" if failed else "none"),
    ]
    if figures["torn_lines"]:
        rows.append(("torn lines", f"{figures['torn_lines']}, not counted"))
    print_table(rows[0], rows[1:])
    for pair in figures["pairs"]:
        _print_pair(pair)


def _print_pair(pair: dict[str, Any]) -> None:
    print()
    say(
        f"{pair['model']} version {pair['primary_version']}, "
        f"shadow {pair['shadow']} version {pair['shadow_version']}"
    )
    low, high = pair["agreement_95"]
    difference = "-"
    if pair["max_difference"] is not None:
        difference = f"largest {pair['max_difference']:.4g}  mean {pair['mean_difference']:.4g}"
    ours, its, ratio = (
        pair[name] for name in ("primary_latency_ms", "shadow_latency_ms", "latency_ratio")
    )
    latencies = "  ".join(
        f"{name} {ours[name]:.2f} -> {its[name]:.2f} (x{ratio[name] or math.nan:.2f})"
        for name in ours
    )
    rows = [
        ("agree", f"{pair['agreed']} of {pair['compared']}"),
        ("agreement", f"{pair['agreement']:.4f}  95 % {low:.4f} to {high:.4f}"),
        ("difference", difference),
        ("latency, ms", latencies),
    ]
    print_table(rows[0], rows[1:])
    if pair["disagreements"]:
        more = pair["compared"] - pair["agreed"] - len(pair["disagreements"])
        print(f"disagree{f' (and {more} more)' if more else ''}:")
        print_table(
            ("request_id", "primary", "probability", "shadow", "probability", "difference"),
            [
                (
                    one["request_id"] or "-",
                    one["primary_label"] or "-",
                    _as_text(one["primary_probability"]),
                    one["shadow_label"] or "-",
                    _as_text(one["shadow_probability"]),
                    _as_text(one["max_difference"]),
                )
                for one in pair["disagreements"]
            ],
        )


def _as_text(number: float | None) -> str:
    return "-" if number is None else f"{number:.4f}"
