"""Lists the runs of a folder beside each other: figures, settings that differ, time, data.

    make runs                                     the newest first; runs/index.html has it as a page
    make runs ARGS="--by log_loss"                the best first, by a figure of validation
    python -m training.comparing.runs --json      for programs

All figures are those under the runs' present decisions.
"""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import shlex
import sys
from pathlib import Path
from typing import Any, Final

from foundation import command_line, figures
from foundation.pages import numbers, page
from training.comparing import listing
from training.comparing.listing import Listing, Row

logger = logging.getLogger("training.comparing.runs")

INDEX: Final = "index.html"

SHOWN: Final = {"roc_auc": "AUC", "balanced_accuracy": "balanced", "log_loss": "log loss"}
"""Figures in the terminal's table, and their headings."""


def main(argv: list[str] | None = None) -> int:
    """The command; prints the table, or JSON, on stdout."""
    parser = command_line.Parser(
        prog="python -m training.comparing.runs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", default="runs", help="folder of the runs (default: %(default)s)")
    parser.add_argument(
        "--by",
        default=listing.BY_TIME,
        choices=listing.ORDERS,
        help="the newest first, or the best by a figure of validation (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    typed = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(typed)
    command_line.configure_logging()
    command = shlex.join(["python", "-m", "training.comparing.runs", *typed])
    return command_line.run(
        parser.prog, lambda: _command(Path(args.runs), args.by, args.json, command)
    )


def _command(runs: Path, order: str, as_json: bool, command: str) -> int:
    started = datetime.datetime.now(datetime.timezone.utc)
    found = listing.collect(runs, order)
    for name, reason in found.broken.items():
        logger.warning("not listed: %s: %s", name, reason)
    _write_page(runs / INDEX, found, page.origin(command, started))
    if as_json:
        content = {"runs": [row.as_json() for row in found.rows], "broken": found.broken}
        print(json.dumps(figures.finite(content), indent=2))
    else:
        for line in _table(found):
            print(line)
    page.list_page(runs / INDEX)
    logger.info("page: %s", runs / INDEX)
    return 0


def _write_page(path: Path, found: Listing, origin: page.Origin) -> None:
    from training.comparing import pages  # matplotlib: not before there is something to draw

    pages.write_runs(path, found, origin)


def _table(found: Listing) -> list[str]:
    header = ["run", *(f"validation {text}" for text in SHOWN.values())]
    header += [
        *(f"test {text}" for text in SHOWN.values()),
        "images",
        "seconds",
        "ms an answer",
        "differs in",
    ]
    rows = [header, *(_line(row, found, place) for place, row in enumerate(found.rows))]
    widths = [max(len(row[at]) for row in rows) for at in range(len(header))]
    numeric = range(1, len(header) - 1)
    return [
        "  ".join(
            cell.rjust(width) if at in numeric else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]


def _line(row: Row, found: Listing, place: int) -> list[str]:
    differs = [f"{name}={_shown(values[place])}" for name, values in found.differing().items()]
    return [
        row.run,
        *(numbers.fixed(row.metrics["validation"][name], 3) for name in SHOWN),
        *(numbers.fixed(row.metrics["test"][name], 3) for name in SHOWN),
        f"{sum(row.images.values()):,}",
        numbers.fixed(row.seconds, 0),
        numbers.fixed(row.answer_ms, 1),
        " ".join(differs),
    ]


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
