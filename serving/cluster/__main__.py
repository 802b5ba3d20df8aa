"""Applies an overlay of k8s/ to a cluster, and waits for its pods.

    python -m serving.cluster staging             try it out, apply it, wait for its pods
    python -m serving.cluster staging --dry-run   only have the API server try it out

Nothing is applied unless the API server accepts all of it. models.config stays as the cluster has
it: only the rollout changes it. Pods that are not ready within progressDeadlineSeconds (10 minutes
without progress) are rolled back; the old pods have served all the time.

Exit code 0: done. 1: rolled back, or not ready, or applied in part, or no longer watched. 2:
refused, nothing was applied.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Final

from foundation.command_line import (
    InputError,
    Parser,
    configure_logging,
    explained,
    one_line,
    run,
    say,
)
from serving.cluster import following, manifests
from serving.cluster.kubectl import Kubectl

_COMMAND: Final = "python -m serving.cluster"

_log = logging.getLogger("serving.cluster")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = Parser(
        prog=_COMMAND,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overlay", nargs="?", default="", help="of k8s/overlays, or a folder")
    parser.add_argument("--context", default="", metavar="NAME", help="of the kubeconfig")
    parser.add_argument("--dry-run", action="store_true", help="apply nothing")
    parser.add_argument("--no-wait", action="store_true", help="do not wait for pods")
    parser.add_argument(
        "--force-conflicts",
        action="store_true",
        help="take over fields that somebody has set by other means",
    )
    arguments = parser.parse_args(argv)
    configure_logging()
    return run(_COMMAND, lambda: _apply(arguments))


def _apply(arguments: argparse.Namespace) -> int:
    folder = manifests.folder(arguments.overlay)
    documents = manifests.render(Kubectl(context=arguments.context), folder)
    namespace = manifests.namespace(documents)
    kubectl = Kubectl(namespace=namespace, context=arguments.context)
    names = manifests.deployments(documents)
    befores = [following.before(kubectl, name) for name in names]
    if kept := manifests.keep_models_config(kubectl, documents):
        _log.warning("%s", kept)
    try:
        outcomes = manifests.apply(
            kubectl,
            documents,
            force=arguments.force_conflicts,
            dry_run=arguments.dry_run,
            told=lambda warning: _log.warning("%s", warning),
        )
    except manifests.HalfAppliedError as error:
        print(f"{_COMMAND}: error: {one_line(str(error))}", file=sys.stderr)
        return 1
    if arguments.dry_run:
        print(f"The cluster would take all {len(documents)} objects of {folder}.")
        return 0
    told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
    try:
        say(f"Applied {folder} to {namespace}: {told}.")
        if arguments.no_wait:
            return 0
        ends = [following.follow(kubectl, was, _say) for was in befores]
    except KeyboardInterrupt:
        _log.warning("no longer watched: it goes on. To take it back: kubectl rollout undo")
        raise
    except (InputError, OSError) as error:
        print(
            f"{_COMMAND}: error: applied, but not followed to its end: {explained(error)}",
            file=sys.stderr,
        )
        return 1
    for end in ends:
        print(f"{one_line(end.text)}.", file=sys.stdout if end.done else sys.stderr)
    return 0 if all(end.done for end in ends) else 1


def _say(text: str) -> None:
    _log.info("%s", text)


if __name__ == "__main__":
    sys.exit(main())
