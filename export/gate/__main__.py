"""Decides whether a version may become a canary: is it as good as the stable one, and safe to load?

    python -m export.gate 2                          against the newest older version that passed
    python -m export.gate 2 --against 1              40 s on two cores for the sample set
    python -m export.gate --run cnn-…                the newest version that holds this run
    python -m export.gate 2 --data fresh_images/     judged by images that belong to no run

Both versions answer the same held-out images, corrupted ones and edge pictures, in a process of
their own. Writes assets.extra/gate.json and gate.html into the version's folder; exit code 0 if it
passed, 1 if it is refused. A verdict never changes what a server serves.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import shlex
import sys
from pathlib import Path

from export import versions
from export.gate import images as gate_images, judging
from export.gate.figures import CANDIDATE, STABLE
from export.gate.judging import CORRUPTED_IMAGES, Terms
from export.gate.verdict import Limits
from foundation import command_line
from foundation.command_line import InputError
from foundation.digests import version_digest
from tfs_client import contract
from training import run

logger = logging.getLogger("export.gate")


def main(argv: list[str] | None = None) -> int:
    """The command; prints the path of the verdict on stdout."""
    parser = _parser()
    typed = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(typed)
    command_line.configure_logging()
    command = shlex.join(["python", "-m", "export.gate", *typed])
    return command_line.run(parser.prog, lambda: _command(_request(args), command))


def _parser() -> command_line.Parser:
    parser = command_line.Parser(
        prog="python -m export.gate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("version", type=int, nargs="?", help="the candidate's number")
    parser.add_argument(
        "--run",
        help="instead of it: a run, by its folder or its name in --runs; its newest version",
    )
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
        default=Limits.margin,
        help="how much worse balanced accuracy, robustness and, of two classes, ROC-AUC may be, "
        "0-1 (default: %(default)s)",
    )
    parser.add_argument(
        "--log-loss-margin",
        type=float,
        metavar="NATS",
        default=Limits.log_loss_margin,
        help="how much worse log loss may be, where there are more than two classes "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--max-latency-ratio",
        type=float,
        default=Limits.max_latency_ratio,
        help="of the median latencies, candidate to stable (default: %(default)s)",
    )
    parser.add_argument(
        "--max-latency-ms", type=float, metavar="MS", help="of the candidate's 95th percentile"
    )
    parser.add_argument(
        "--max-bytes-ratio",
        type=float,
        default=Limits.max_bytes_ratio,
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
    return parser


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Request:
    """What the command line asks for."""

    version: int
    against: int | None
    model_folder: Path
    runs: Path
    terms: Terms


def _request(args: argparse.Namespace) -> _Request:
    # "not" around the comparison: a NaN is refused too
    if not 0 < args.margin < 1:
        raise InputError(f"Expected --margin above 0 and below 1. Received: {args.margin}.")
    names = [field.name for field in dataclasses.fields(Limits)][1:]
    for name in (*names, "corrupted_images", "max_silence_s"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            flag = "--" + name.replace("_", "-")
            raise InputError(f"Expected {flag} above 0. Received: {value}.")
    model_folder, runs = Path(args.models) / contract.MODEL_NAME, Path(args.runs)
    return _Request(
        version=_candidate(model_folder, args.version, args.run, runs),
        against=args.against,
        model_folder=model_folder,
        runs=runs,
        terms=Terms(
            limits=Limits(margin=args.margin, **{name: getattr(args, name) for name in names}),
            data=args.data,
            corrupted_images=args.corrupted_images,
            max_silence_s=args.max_silence_s,
        ),
    )


def _candidate(model_folder: Path, version: int | None, run_name: str | None, runs: Path) -> int:
    """The candidate's number; of the run where one is named."""
    if run_name is None:
        if version is None:
            raise InputError("Expected the number of a version, or --run. Received: neither.")
        return version
    made = run.named(run_name, runs)
    holding = versions.of_run(model_folder, made.id)
    if version is not None and version not in holding:
        raise InputError(
            f"Expected a version that holds run {made.id}, as --run says. Received: version "
            f"{version}, which does not. Give one of both."
        )
    if not holding:
        raise InputError(
            f"Expected a version in {model_folder} that holds run {made.id}. Received: none. "
            f"Export it first: make export RUN={run_name}"
        )
    return holding[-1] if version is None else version


def _command(request: _Request, command: str) -> int:
    against, why = _against(request.model_folder, request.version, request.against)
    logger.info(
        "version=%d, against=%s (%s), margin=%g",
        *(request.version, against, why, request.terms.limits.margin),
    )
    numbers = {CANDIDATE: request.version, **({} if against is None else {STABLE: against})}
    asked = {
        who: gate_images.load_version(request.model_folder, number, request.runs)
        for who, number in numbers.items()
    }
    return judging.judge(asked, request.terms, command)


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


if __name__ == "__main__":
    sys.exit(main())
