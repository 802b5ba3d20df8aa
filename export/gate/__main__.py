"""Decides whether a version may become a canary: is it as good as the stable one, and safe to load?

    python -m export.gate 2                          against the newest older version that passed
    python -m export.gate 2 --against 1              40 s on two cores for the sample set
    python -m export.gate 2 --data fresh_images/     judged by images that belong to no run

Both versions answer the same held-out images, corrupted ones and edge pictures, in a process of
their own. Writes assets.extra/gate.json and gate.html into the version's folder; exit code 0 if it
passed, 1 if it is refused. A verdict never changes what a server serves.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
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
from export.gate.figures import CANDIDATE, STABLE
from export.gate.images import Image, Version
from export.gate.verdict import Check, Limits
from foundation import command_line, figures, files
from foundation.command_line import InputError
from foundation.digests import version_digest
from tfs_client import contract

logger = logging.getLogger("export.gate")

PAGE = "gate.html"
MARGIN = 0.05
"""With 650 images, on a tenth of which the versions disagree, an equally good version passes 98
times in 100; with a margin of 0.03, 73 times."""
CORRUPTED_IMAGES = 400
LATENCY_CALLS = 300
SEED = 1
"""Of the corruptions: the same for every gate, so that verdicts can be compared."""


def main(argv: list[str] | None = None) -> int:
    """The command; prints the path of the verdict on stdout."""
    parser = command_line.Parser(
        prog="gate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("version", type=int, help="the candidate's number")
    parser.add_argument(
        "--against",
        type=int,
        metavar="VERSION",
        help="the version it would replace (default: the highest one below that passed its gate, "
        "or else the highest one below)",
    )
    parser.add_argument("--models", default="models", help="model store (default: %(default)s)")
    parser.add_argument("--runs", default="runs", help="where the runs lie (default: %(default)s)")
    parser.add_argument(
        "--data",
        help="labelled images to judge by, a folder or a manifest; those that a run was trained "
        "on are left out (default: the test images of both runs)",
    )
    parser.add_argument(
        "--margin",
        type=float,
        default=MARGIN,
        help="how much worse balanced accuracy, ROC-AUC and robustness may be, 0-1 "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--max-latency-ratio",
        type=float,
        default=1.25,
        help="of the median latencies, candidate to stable (default: %(default)s)",
    )
    parser.add_argument(
        "--max-latency-ms", type=float, metavar="MS", help="of the candidate's 95th percentile"
    )
    parser.add_argument(
        "--max-bytes-ratio",
        type=float,
        default=1.5,
        help="of the folders' sizes without assets.extra, candidate to stable "
        "(default: %(default)s)",
    )
    parser.add_argument("--max-bytes", type=int, metavar="N", help="of the candidate's folder")
    parser.add_argument(
        "--corrupted-images",
        type=int,
        default=CORRUPTED_IMAGES,
        metavar="N",
        help="at most so many images are asked with every corruption (default: %(default)s)",
    )
    parser.add_argument(
        "--max-silence-s",
        type=float,
        default=300,
        metavar="S",
        help="a version that gets no further for so long has failed (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    command_line.configure_logging()
    return command_line.run("gate", lambda: _command(args))


def _command(args: argparse.Namespace) -> int:
    limits = _limits(args)
    model_folder = Path(args.models) / contract.MODEL_NAME
    against, why = _against(model_folder, args.version, args.against)
    logger.info("version=%d, against=%s (%s), margin=%g", args.version, against, why, limits.margin)
    asked = {CANDIDATE: gate_images.load_version(model_folder, args.version, Path(args.runs))}
    if against is not None:
        asked[STABLE] = gate_images.load_version(model_folder, against, Path(args.runs))
    return gate(
        asked,
        limits,
        data=args.data,
        corrupted_images=args.corrupted_images,
        max_silence_s=args.max_silence_s,
    )


def _limits(args: argparse.Namespace) -> Limits:
    # "not" around the comparison: a NaN is refused too
    if not 0 < args.margin < 1:
        raise InputError(f"Expected --margin above 0 and below 1. Received: {args.margin}.")
    names = [field.name for field in dataclasses.fields(Limits)][1:]
    for name in (*names, "corrupted_images", "max_silence_s"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            flag = "--" + name.replace("_", "-")
            raise InputError(f"Expected {flag} above 0. Received: {value}.")
    return Limits(margin=args.margin, **{name: getattr(args, name) for name in names})


def _against(model_folder: Path, version: int, wished: int | None) -> tuple[int | None, str]:
    """Which version to compare with, and why that one."""
    if wished == version:
        raise InputError(
            f"Expected --against to name another version. Received: {wished}, which is the "
            "candidate itself. Name the version that it would replace."
        )
    if wished is not None:
        return wished, "as --against says"
    below = [number for number in versions.versions(model_folder) if number < version]
    passed = [number for number in below if _has_passed(model_folder / str(number))]
    if passed:
        return passed[-1], "the highest one below that passed its gate"
    if below:
        return below[-1], "the highest one below; none of them passed a gate"
    return None, "there is none below"


def _has_passed(folder: Path) -> bool:
    try:
        verdict = json.loads((folder / contract.GATE_VERDICT).read_text(encoding="utf-8"))
        return verdict["passed"] is True and verdict["version_sha256"] == version_digest(folder)
    except (OSError, ValueError, KeyError, TypeError):  # InputError is a ValueError
        return False


def gate(
    asked: dict[str, Version],
    limits: Limits,
    *,
    data: str | None = None,
    corrupted_images: int = CORRUPTED_IMAGES,
    max_silence_s: float = 300,
) -> int:
    """Gathers the evidence, judges it and writes the verdict and its page.

    Args:
        asked: "candidate", and "stable" if there is one.
        limits: what the candidate is held against.
        data: a folder or a manifest of labelled images; None: the runs' test images.
        corrupted_images: at most so many are asked with every corruption.
        max_silence_s: a version that gets no further for so long has failed.

    Returns:
        the exit code: 0 passed, 1 refused.

    Raises:
        InputError: there are too few images, or a version's files changed meanwhile.
    """
    candidate = asked[CANDIDATE]
    digests = {who: version_digest(version.folder) for who, version in asked.items()}
    held_out = gate_images.held_out(list(asked.values()), data)
    corrupted = gate_images.sample(held_out.images, corrupted_images)
    logger.info(
        "held-out images: %d, %d of them positive; %d of them corrupted too",
        len(held_out.images),
        sum(image.positive for image in held_out.images),
        len(corrupted),
    )
    evidence = child.gather(
        asked,
        held_out.images,
        corrupted,
        seed=SEED,
        latency_calls=LATENCY_CALLS,
        max_silence_s=max_silence_s,
    )
    for who, version in asked.items():
        if version_digest(version.folder) != digests[who]:
            raise InputError(
                f"Expected the files of version {version.number} to stay as they are. Received: "
                "others than at the start. No verdict was written; run the gate again."
            )
    checks, beside = gate_checks.all_checks(
        evidence,
        asked,
        {who: _bytes(version.folder) for who, version in asked.items()},
        limits,
        lambda: gate_figures.set_beside(evidence, asked, held_out.images, corrupted),
    )
    verdict = {
        **_summary(asked, digests, limits, checks),
        "held_out": held_out.summary() | {"corrupted": len(corrupted), "data": data},
        "metrics": {
            who: gate_figures.metrics(beside.held_out[who], beside.positive, beside.usable)
            if beside
            else None
            for who in asked
        },
        "disagreements": gate_figures.disagreements(beside, held_out.images) if beside else [],
        "page": PAGE,
    }
    _write(
        candidate.folder / contract.GATE_VERDICT, verdict, asked, held_out.images, evidence, beside
    )
    _say(checks, verdict["passed"], candidate.folder / contract.GATE_VERDICT)
    return 0 if verdict["passed"] else 1


def _summary(
    asked: dict[str, Version], digests: dict[str, str], limits: Limits, checks: Sequence[Check]
) -> dict[str, Any]:
    """Who was judged, by whom, when, and what came of it."""
    return {
        "version": asked[CANDIDATE].number,
        "against": asked[STABLE].number if STABLE in asked else None,
        "passed": gate_verdict.passed(checks),
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": figures.git_commit(),
        "machine": figures.machine(),
        "margins": dataclasses.asdict(limits),
        "version_sha256": digests[CANDIDATE],
        "against_sha256": digests.get(STABLE),
        "checks": [dataclasses.asdict(check) for check in checks],
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
    images: Sequence[Image],
    evidence: child.Evidence,
    beside: gate_figures.Beside | None,
) -> None:
    """Writes page and verdict, each aside and then renamed; the verdict last."""
    from export.gate.page import render  # matplotlib: not before there is something to draw

    path.parent.mkdir(exist_ok=True)
    files.write(path.with_name(PAGE), render(verdict, asked, images, evidence, beside))
    figures.write_json(path, verdict)


def _say(checks: Sequence[Check], passed: bool, path: Path) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        told = check.detail["note"] if check.holds is None else check.received
        print(f"  {check.name:<{width}}  {check.word:<11}  {told}", file=sys.stderr)
        if check.holds is False:
            print(f"  {'':<{width}}  {'expected':<11}  {check.expected}", file=sys.stderr)
    failed = ", ".join(check.name for check in checks if check.holds is False)
    page = path.with_name(PAGE)
    print("passed" if passed else f"refused: {failed}; see {page}", file=sys.stderr)
    print(path)


if __name__ == "__main__":
    sys.exit(main())
