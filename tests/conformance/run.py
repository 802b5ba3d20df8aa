"""Holds a model server against the conformance table: code, text and answer of every case.

    python -m tests.conformance.run                        # the local server, started here
    python -m tests.conformance.run --grpc host:8500 --rest host:8501 [--setup flags]

Another server must serve the table's models: `python -m tests.conformance.models OUT_DIR` makes
them and prints the two command lines (setup `default` and setup `flags`). Its configuration is
reloaded and put back. Cases in which the local server differs on purpose are not asked of others;
`--ending` asks also those of them that can end a TensorFlow Serving. A server that has ended is
asked no more: what it answered until then is written, and the exit code is 2.
Writes build/conformance.json, build/conformance-cases.json and build/conformance.html; the exit
code is 0 only if every case holds. Costs about a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from foundation import progress, quiet_tensorflow
from foundation.command_line import InputError, Parser, run as run_command
from foundation.figures import BUILD_DIR, Figures, write_json
from foundation.pages import page

quiet_tensorflow.import_tensorflow(keras=False)

# E402: after TensorFlow was imported quietly.
from tests.conformance import local, models, setups, whole_table  # noqa: E402
from tests.conformance.ask import Server, ServerEndedError  # noqa: E402
from tests.conformance.case import Case, Setup, Source  # noqa: E402
from tests.conformance.verdicts import Verdict, recorded, run  # noqa: E402

CONNECT_S: Final = 10.0


_COMMAND: Final = "python -m tests.conformance.run"


def main(argv: Sequence[str] | None = None) -> int:
    """Asks all cases and reports; returns the exit code."""
    parser = Parser(prog=_COMMAND, description="holds a model server against the table")
    parser.add_argument("--grpc", metavar="HOST:PORT", help="another server's gRPC address")
    parser.add_argument("--rest", metavar="HOST:PORT", help="another server's REST address")
    parser.add_argument("--setup", choices=setups.SETUPS, default="default", help="how it runs")
    parser.add_argument(
        "--models", default="/models", help="the models' folder as that server sees it (/models)"
    )
    parser.add_argument(
        "--ending", action="store_true", help="ask also what can end that server's process"
    )
    typed = sys.argv[1:] if argv is None else argv
    arguments = parser.parse_args(typed)
    command = shlex.join([*_COMMAND.split(), *typed])
    return run_command(_COMMAND, lambda: _run(arguments, command))


def _run(arguments: argparse.Namespace, command: str) -> int:
    if bool(arguments.grpc) != bool(arguments.rest):
        raise InputError(
            "Expected both addresses of the server, or none. Received: "
            f"--grpc={arguments.grpc}, --rest={arguments.rest}. Give --grpc and --rest."
        )
    other = bool(arguments.grpc)
    cases = {
        key: case
        for key, case in whole_table.cases().items()
        if not other or (case.setup == arguments.setup and _is_for_others(case, arguments.ending))
    }
    figures = Figures("conformance", command)
    verdicts: list[Verdict] = []
    ended = ""
    with _other(arguments) if other else _local() as servers:
        for key, case in progress.tracked(cases.items(), "conformance", unit="cases"):
            try:
                verdicts.append(run(key, case, servers[case.setup]))
            except ServerEndedError as error:
                ended = f"{error} ({key.partition(': ')[0]})"
                break
            if not verdicts[-1].fine:
                progress.say(f"differs: {key}")
    write_cases(verdicts, page.origin(command, figures.started), other=other)
    _add(figures, verdicts, other)
    code = figures.write()
    if ended:
        raise InputError(
            f"Expected a server that lives through {len(cases)} cases. Received: {ended}, after "
            f"{len(verdicts)} others. Look into its log; start it again to ask it again."
        )
    return code


def _is_for_others(case: Case, ending: bool) -> bool:
    return case.source is not Source.OWN or (ending and case.ends)


@contextlib.contextmanager
def _other(arguments: argparse.Namespace) -> Iterator[dict[Setup, Server]]:
    server = Server(arguments.grpc, arguments.rest, arguments.models, arguments.setup)
    try:
        try:
            server.wait_until_connected(CONNECT_S)
            server.prepare()
        except RuntimeError as error:
            raise InputError(str(error)) from error
        yield {arguments.setup: server}
    finally:
        server.close()


@contextlib.contextmanager
def _local() -> Iterator[dict[Setup, Server]]:
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        models.make(folder)
        setups.write_files(folder, str(folder))
        yield {
            setup: stack.enter_context(local.running(folder, setup, folder))
            for setup in setups.SETUPS
        }


def _add(figures: Figures, verdicts: list[Verdict], other: bool) -> None:
    figures.add("cases", len(verdicts), "cases")
    figures.add("cases.differ", sum(not v.fine for v in verdicts), "cases", at_most=0)
    if not other:
        counts = recorded(verdicts)
        figures.add("recorded.requests", counts.requests, "requests")
        for name, count in (
            ("codes_equal", counts.codes_equal),
            ("answers_equal", counts.answers_equal),
        ):
            figures.add(f"recorded.{name}", count, "requests", at_least=counts.requests)
    for subject, found in _by_subject(verdicts).items():
        name = re.sub(r"\W+", "_", subject.lower())
        known = sum(v.fine and not v.holds for v in found)
        figures.add(
            f"subject.{name}.hold",
            sum(v.holds for v in found),
            f"of {len(found)} cases",
            at_least=len(found) - known,
        )


def _by_subject(verdicts: list[Verdict]) -> dict[str, list[Verdict]]:
    found: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        found.setdefault(verdict.key.split(": ")[0], []).append(verdict)
    return found


def write_cases(verdicts: list[Verdict], origin: page.Origin, *, other: bool) -> None:
    """Writes every case, as JSON and as a page."""
    BUILD_DIR.mkdir(parents=True, exist_ok=True)
    rows = [_row(verdict) for verdict in verdicts]
    # Those that differ first: they are what one looks for.
    write_json(BUILD_DIR / "conformance-cases.json", sorted(rows, key=lambda row: row["fine"]))
    subjects: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        subjects.setdefault(row["subject"], []).append(row)
    path = BUILD_DIR / "conformance.html"
    page.write(
        path,
        Path(__file__).with_name("page.html"),
        origin=origin,
        subjects=subjects,
        rows=rows,
        server="another server" if other else "the local server",
    )
    print(path)


def _row(verdict: Verdict) -> dict[str, Any]:
    subject, _, name = verdict.key.partition(": ")
    case = verdict.case
    return {
        "subject": subject,
        "name": name,
        "source": case.source.value,
        "setup": case.setup,
        "holds": verdict.holds,
        "fine": verdict.fine,
        "reason": case.why or whole_table.DIFFERS.get(verdict.key),
        "steps": [
            {"request": str(step.request), "expected": str(step.expected), "received": got}
            for step, got in zip(case.steps, verdict.received)
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
