"""The command line of the rollout.

    python -m serving.rollout status             what each server serves, what the file says,
                                                 what has changed; --traffic, --watch
    python -m serving.rollout canary 2           load version 2 and put it on trial
    python -m serving.rollout promote            make it the stable one; the one before stays loaded
    python -m serving.rollout rollback           end the trial, or go back to the version before
    python -m serving.rollout retire 1           unload a version that nobody needs any more
    python -m serving.rollout apply              bring every server to what the file says
    python -m serving.rollout history            who did what, when and why
    python -m serving.rollout watch PLAN …       follow an experiment; roll back if it does harm

Exit code 0: done (status: all servers agree with the file, and the traffic was found if it was
asked for). 1: it failed and was undone, or some server did not follow, or it was done and could
not be written down or printed, or (watch) the version on trial did harm and was rolled back. 2:
refused, nothing was changed. With --kubernetes, models.config is the one of the cluster's
ConfigMap, and the servers are all pods.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from foundation.command_line import InputError, Parser, configure_logging, one_line, run
from serving.rollout import verbs, where
from serving.rollout.operation import NotDoneError
from serving.rollout.status import command
from serving.rollout.steps import SETTLED_S, TIMEOUT_S, NoServerError, Settings
from serving.rollout.verbs import ChangeRequest
from tfs_client.errors import TfsError

if TYPE_CHECKING:
    from serving.rollout.trial import Evidence

_COMMAND: Final = "python -m serving.rollout"

Verb = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    configure_logging(arguments.verbose)

    def carried_out() -> int:
        try:
            body: Verb = arguments.body
            return body(arguments)
        except NotDoneError as error:
            instead = _cluster_instead(arguments) if error.nobody_answered else ""
            print(f"{_COMMAND}: {one_line(str(error) + instead)}", file=sys.stderr)
            return 1
        except NoServerError as error:
            raise InputError(str(error) + _cluster_instead(arguments)) from error
        except TfsError as error:
            raise InputError(str(error)) from error

    return run(_COMMAND, carried_out)


def _parser() -> Parser:
    parser = Parser(
        prog=_COMMAND,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(title="verbs", required=True, metavar="VERB", dest="verb")

    def add(name: str, body: Verb, does: str) -> Any:
        verb = subparsers.add_parser(name, help=does, description=does)
        verb.set_defaults(body=body)
        where.add_place_flags(verb)
        verb.add_argument("--json", action="store_true", help="JSON on stdout")
        verb.add_argument("--verbose", action="store_true", help="say more on stderr")
        return verb

    def add_change(name: str, body: Verb, does: str) -> Any:
        verb = add(name, body, does)
        where.add_server_flags(verb)
        _add_change_flags(verb)
        return verb

    does = "Show what each server serves, what the file says, and what has changed."
    verb = add("status", _status, does)
    where.add_server_flags(verb)
    command.add_flags(verb)
    verb = add_change("canary", _canary, "Put a version on trial: load it, then label it canary.")
    verb.add_argument("version", type=int, metavar="N", help="the version")
    verb.add_argument("--force", action="store_true", help="pass over the gate; needs --why")
    verb = add_change("promote", _promote, "Make the version on trial the stable one.")
    verb.add_argument(
        "--if-better", type=Path, metavar="PLAN", help="only if this experiment says so"
    )
    _add_records(verb, required=False)
    verb = add_change("rollback", _rollback, "End the trial, or go back to the version before.")
    verb.add_argument("--to", type=int, metavar="N", help="go to this version, which is loaded")
    verb = add_change("retire", _retire, "Unload a version that no label needs.")
    verb.add_argument("version", type=int, metavar="N", help="the version")
    verb = add_change("watch", _watch, "Follow an experiment; roll back if it does harm.")
    verb.add_argument("plan", type=Path, metavar="PLAN", help="of the experiment, JSON")
    _add_records(verb, required=True)
    verb.add_argument("--promote", action="store_true", help="promote a version that is better")
    verb.add_argument("--every-s", type=float, default=60.0, metavar="SECONDS", help="%(default)g")
    add_change("apply", _apply, "Bring every server to what the file says.")
    verb = add("history", _history, "Show who did what, when and why.")
    verb.add_argument("--last", type=int, default=20, metavar="N", help="%(default)s")
    return parser


def _add_change_flags(verb: Any) -> None:
    verb.add_argument(
        "--models",
        type=Path,
        default=Path("models"),
        help="the store, for the gate and for models that are new to a server; %(default)s",
    )
    verb.add_argument(
        "--by",
        choices=("auto", "rpc", "file"),
        default="auto",
        help="how servers hear of it: rpc tells them (HandleReloadConfigRequest); file leaves it "
        "to their polling of the file; auto tells those that can be told, but pods, which poll "
        "(default)",
    )
    verb.add_argument(
        "--timeout-s",
        type=float,
        default=TIMEOUT_S,
        metavar="SECONDS",
        help="for each state to show at all servers (default: %(default)g)",
    )
    verb.add_argument("--why", default="", metavar="TEXT", help="for the history")
    verb.add_argument("--who", default="", metavar="NAME", help="for the history; user@host")
    verb.add_argument(
        "--dry-run", action="store_true", help="print the states, ask nobody, change nothing"
    )


def _add_records(verb: Any, *, required: bool) -> None:
    verb.add_argument(
        "--exposures",
        nargs="+",
        default=[],
        required=required,
        metavar="FILE",
        help="what the clients' ExposureLog has written; globs",
    )
    verb.add_argument(
        "--outcomes",
        nargs="+",
        default=[],
        metavar="FILE",
        help="JSONL or CSV: request_id, and truth or correct; globs",
    )


def _asked(arguments: argparse.Namespace) -> ChangeRequest:
    """What all verbs that change something are told.

    Raises:
        InputError: flags that exclude each other, or make no sense.
    """
    if arguments.timeout_s <= 0:
        raise InputError(f"Expected --timeout-s above 0. Received: {arguments.timeout_s:g}.")
    if arguments.kubernetes and arguments.by == "rpc":
        raise InputError(
            "Expected --by file with --kubernetes. Received: --by rpc. Pods poll the ConfigMap's "
            "file, and would soon take back what they were told."
        )
    found = where.read(arguments)
    return ChangeRequest(
        where=found,
        settings=Settings(
            model=found.model,
            by="file" if found.in_cluster else arguments.by,
            timeout_s=arguments.timeout_s,
            typed=found.typed,
            # A ConfigMap that somebody has just edited has not reached every pod yet.
            settled_s=arguments.timeout_s if found.in_cluster else SETTLED_S,
            models=None if found.in_cluster else arguments.models,
            why=arguments.why,
            who=arguments.who,
        ),
        dry_run=arguments.dry_run,
        as_json=arguments.json,
    )


def _cluster_instead(arguments: argparse.Namespace) -> str:
    """Where no server answers: whether a cluster was meant, with a space before it."""
    verb = arguments.verb
    if getattr(arguments, "version", None) is not None:
        verb += f" {arguments.version}"
    if getattr(arguments, "to", None) is not None:
        verb += f" --to {arguments.to}"
    asks = where.read(arguments).cluster_instead(verb)
    return f" {asks}" if asks else ""


def _evidence(plan: Path, arguments: argparse.Namespace) -> Evidence:
    from serving.rollout.trial import Evidence  # here: a rollback must not wait for this import

    return Evidence(plan=plan, exposures=arguments.exposures, outcomes=arguments.outcomes)


def _status(arguments: argparse.Namespace) -> int:
    asked = command.request(arguments)
    return command.status(where.read(arguments), asked)


def _history(arguments: argparse.Namespace) -> int:
    return verbs.history(where.read(arguments), last=arguments.last, as_json=arguments.json)


def _canary(arguments: argparse.Namespace) -> int:
    return verbs.canary(
        *(_asked(arguments), arguments.version), models=arguments.models, force=arguments.force
    )


def _promote(arguments: argparse.Namespace) -> int:
    plan = arguments.if_better
    if plan is None and (arguments.exposures or arguments.outcomes):
        raise InputError("Expected --if-better PLAN with --exposures. Received: no plan.")
    evidence = None if plan is None else _evidence(plan, arguments)
    return verbs.promote(_asked(arguments), evidence)


def _rollback(arguments: argparse.Namespace) -> int:
    return verbs.rollback(_asked(arguments), arguments.to)


def _retire(arguments: argparse.Namespace) -> int:
    return verbs.retire(_asked(arguments), arguments.version)


def _apply(arguments: argparse.Namespace) -> int:
    return verbs.apply(_asked(arguments))


def _watch(arguments: argparse.Namespace) -> int:
    return verbs.watch(
        *(_asked(arguments), _evidence(arguments.plan, arguments)),
        promote=arguments.promote,
        every_s=arguments.every_s,
    )


if __name__ == "__main__":
    sys.exit(main())
