"""Compares two runs on the images that both kept for their test, in pairs, as the gate does.

    make compare-runs A=cnn-5ff1b5fb9309 B=latest

Writes build/compare-runs.json and a page with the images on which they disagree. Exit code 0,
whichever is better.
"""

from __future__ import annotations

import argparse
import datetime
import logging
import shlex
import sys
from pathlib import Path
from typing import Final

from foundation import command_line, figures, quiet_tensorflow
from foundation.pages import page
from training import run
from training.comparing import comparison
from training.comparing.comparison import Compared

logger = logging.getLogger("training.comparing.compare")

FIGURES: Final = Path("build/compare-runs.json")
PAGE: Final = FIGURES.with_suffix(".html")


def main(argv: list[str] | None = None) -> int:
    """The command; prints the comparison on stderr and the page's path on stdout."""
    parser = command_line.Parser(
        prog="python -m training.comparing.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("a", metavar="A", help="a run's folder or its name in --runs")
    parser.add_argument("b", metavar="B", help="another one; differences are B less A")
    parser.add_argument("--runs", default="runs", help="where names lie (default: %(default)s)")
    typed = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(typed)
    command_line.configure_logging()
    command = shlex.join(["python", "-m", "training.comparing.compare", *typed])
    return command_line.run(parser.prog, lambda: _command(args.a, args.b, Path(args.runs), command))


def _command(a: str, b: str, runs: Path, command: str) -> int:
    started = datetime.datetime.now(datetime.timezone.utc)
    both = run.named(a, runs), run.named(b, runs)
    compared = comparison.compare(*both)
    for line in _told(compared):
        logger.info("%s", line)
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    figures.write_json(FIGURES, compared.as_json())
    quiet_tensorflow.import_tensorflow(keras=False)  # the page shows pictures
    from training.comparing import pages

    pages.write_compared(PAGE, compared, both, page.origin(command, started))
    print(PAGE)
    return 0


def _told(compared: Compared) -> list[str]:
    lines = [
        f"{compared.b} against {compared.a}, on {compared.images} images of both tests"
        + ("" if compared.same_data else "; they were trained on different images")
    ]
    lines += [f"left out: {count} {why}" for why, count in compared.left_out.items()]
    lines += [
        f"{name}: {found.candidate:.4f} against {found.stable:.4f}, difference "
        f"{found.difference:+.4f}, bounds {found.lower:+.4f} and {found.upper:+.4f}: "
        f"{compared.outcome(name)}"
        for name, found in compared.figures.items()
    ]
    lines += [
        f"differs in {name}: {one}, {other}" for name, (one, other) in compared.settings.items()
    ]
    return lines


if __name__ == "__main__":
    sys.exit(main())
