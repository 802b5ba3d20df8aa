"""The command line of the rollout.

    python -m serving.rollout status             what each server serves, and what the file says
    python -m serving.rollout canary 2           load version 2 and put it on trial
    python -m serving.rollout promote            make it the stable one; the one before stays loaded
    python -m serving.rollout rollback           end the trial, or go back to the version before
    python -m serving.rollout retire 1           unload a version that nobody needs any more
    python -m serving.rollout apply              bring every server to what the file says
    python -m serving.rollout history            who did what, when and why
    python -m serving.rollout watch PLAN …       follow an experiment; roll back if it does harm

Exit code 0: done (status: all servers agree with the file). 1: it failed and was undone, or some
server did not follow, or (watch) the version on trial did harm and was rolled back. 2: refused,
nothing was changed. Costs no TensorFlow. With --kubernetes, models.config is the one of the
cluster's ConfigMap, and the servers are all pods.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundation.command_line import InputError, Parser, configure_logging, run
from serving import models_config
from serving.rollout import report, states, where
from serving.rollout.journal import Change, Journal
from serving.rollout.operation import Done, NotDoneError, Operation
from serving.rollout.states import Plan, State
from tfs_client.errors import TfsError

if TYPE_CHECKING:
    from serving.rollout.experiment import Verdict

_log = logging.getLogger("serving.rollout")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    configure_logging(arguments.verbose)

    def body() -> int:
        try:
            command: Callable[[argparse.Namespace], int] = arguments.command
            return command(arguments)
        except NotDoneError as error:
            print(f"rollout: {error}", file=sys.stderr)
            return 1
        except TfsError as error:
            raise InputError(str(error)) from error

    return run("rollout", body)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m serving.rollout",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB", dest="verb")

    def add(name: str, command: Callable[[argparse.Namespace], int], does: str) -> Any:
        verb = verbs.add_parser(name, help=does, description=does)
        verb.set_defaults(command=command)
        where.add_place_flags(verb)
        verb.add_argument("--json", action="store_true", help="JSON on stdout")
        verb.add_argument("--verbose", action="store_true", help="say more on stderr")
        return verb

    def add_change(name: str, command: Callable[[argparse.Namespace], int], does: str) -> Any:
        verb = add(name, command, does)
        where.add_server_flags(verb)
        where.add_change_flags(verb)
        return verb

    verb = add("status", _status, "Show what each server serves, and what the file says.")
    where.add_server_flags(verb)
    verb = add_change("canary", _canary, "Put a version on trial: load it, then label it canary.")
    verb.add_argument("version", type=int, metavar="N", help="the version")
    verb.add_argument(
        "--models", type=Path, default=Path("models"), help="the store, for the gate; %(default)s"
    )
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


def _status(arguments: argparse.Namespace) -> int:
    place = where.place(arguments)
    state = states.read(place.read(), arguments.model)
    with where.fleet(arguments) as fleet:
        seen = fleet.look(state.labels)
    found = report.Status(
        model=arguments.model,
        place=place.name,
        state=state,
        servers=tuple(seen),
        pending=Journal(place).pending(),
        operator=place.operator(),
    )
    print(report.status_as_json(found) if arguments.json else report.status_as_text(found))
    return 0 if found.agrees else 1


def _canary(arguments: argparse.Namespace) -> int:
    if arguments.force and not arguments.why:
        raise InputError("Expected --why with --force. Received: no reason. It is kept in history.")
    from serving.rollout import gate_verdict  # here: a rollback must not wait for it

    entry = where.place(arguments).read()

    def plan(now: State) -> Plan:
        made = states.canary(now, arguments.version)
        if now.canary == arguments.version:
            return made
        folder = models_config.folder_of(entry.model(arguments.model), arguments.models)
        if arguments.kubernetes and not (folder / str(arguments.version)).is_dir():
            # The store is the cluster's; whether it has the version, its pods will say.
            objection = f"version {arguments.version} is not in {folder}, where the gate was asked"
        else:
            objection = gate_verdict.objection(folder, arguments.version, now.stable)
        return made.judged(objection, force=arguments.force)

    return _change(arguments, plan, arguments.version)


def _promote(arguments: argparse.Namespace) -> int:
    if arguments.if_better is None:
        if arguments.exposures or arguments.outcomes:
            raise InputError("Expected --if-better PLAN with --exposures. Received: no plan.")
        return _change(arguments, states.promote)
    from serving.rollout.trial import Evidence  # here: a rollback must not wait for it

    evidence = Evidence(
        plan=arguments.if_better, exposures=arguments.exposures, outcomes=arguments.outcomes
    )

    def plan(now: State) -> Plan:
        verdict = evidence.verdict(now)
        if verdict.kind != "better":
            raise InputError(
                f"Expected version {now.canary} to be better than {now.stable}. Received: "
                f"{verdict.kind}. {verdict.reason} To promote it in spite of that, leave out "
                "--if-better."
            )
        return dataclasses.replace(states.promote(now), why=verdict.reason)

    return _change(arguments, plan)


def _watch(arguments: argparse.Namespace) -> int:
    from serving.rollout import trial

    if arguments.every_s <= 0:
        raise InputError(f"Expected --every-s above 0. Received: {arguments.every_s:g}.")
    evidence = trial.Evidence(
        plan=arguments.plan, exposures=arguments.exposures, outcomes=arguments.outcomes
    )
    place = where.place(arguments)

    def look() -> Verdict:
        return evidence.verdict(states.read(place.read(), arguments.model))

    verdict, action = trial.watch(
        look,
        promote=arguments.promote,
        every_s=arguments.every_s,
        told=lambda verdict: _log.info("%s: %s", verdict.kind, verdict.reason),
    )
    if action == "end" or arguments.dry_run:
        print(f"{verdict.kind}: {verdict.reason}")
        return 0
    on_trial = verdict.sides[1].versions

    def plan(now: State) -> Plan:
        if now.canary is None or (on_trial and now.canary not in on_trial):
            raise InputError(
                f"Expected the version that the verdict is about. Received: {now}. Somebody else "
                "has moved the labels meanwhile; nothing was changed."
            )
        made = states.promote(now) if action == "promote" else states.rollback(now)
        return dataclasses.replace(made, why=verdict.reason)

    arguments.verb = action
    return _change(arguments, plan) or int(action == "rollback")


def _rollback(arguments: argparse.Namespace) -> int:
    return _change(
        arguments, lambda now: states.rollback(now, arguments.to), once=arguments.to is not None
    )


def _apply(arguments: argparse.Namespace) -> int:
    return _change(arguments, states.apply)


def _retire(arguments: argparse.Namespace) -> int:
    version: int = arguments.version
    return _change(arguments, lambda now: states.retire(now, version), version)


def _change(
    arguments: argparse.Namespace,
    plan: Callable[[State], Plan],
    version: int | None = None,
    *,
    once: bool = False,
) -> int:
    """Carries it out, or prints what would be done.

    Args:
        arguments: of the command line.
        plan: the present state to what is to be done.
        version: that was named: another one makes it another command.
        once: never the same command as one that was killed.
    """
    settings, place = where.settings(arguments), where.place(arguments)
    if arguments.dry_run:
        made = plan(states.read(place.read(), arguments.model))
        print(report.plan_as_json(made) if arguments.json else report.plan_as_text(made))
        return 0

    def again(left: Change) -> bool:
        return not once and left.verb == arguments.verb and version in (None, left.version)

    with where.fleet(arguments) as fleet:
        done: Done = Operation(place, fleet, settings).run(arguments.verb, plan, again)
    print(report.done_as_json(done) if arguments.json else report.done_as_text(done))
    return 0


def _history(arguments: argparse.Namespace) -> int:
    changes, unreadable = Journal(where.place(arguments)).history()
    if unreadable:
        print(f"rollout: {unreadable} lines of the history cannot be read", file=sys.stderr)
    chosen = [change for change in changes if change.model == arguments.model]
    chosen = chosen[-max(1, arguments.last) :]
    print(report.history_as_json(chosen) if arguments.json else report.history_as_text(chosen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
