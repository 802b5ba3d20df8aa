"""Which models.config, and which servers: a folder's and those of --target, or a cluster's.

The flags that say so, and what comes of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from foundation.command_line import InputError
from serving.fleet.addresses import Addresses
from serving.fleet.config_file import ConfigFile
from serving.fleet.fleet import Fleet
from serving.fleet.place import Place
from serving.rollout.operation import SETTLED_S, TIMEOUT_S, Settings
from tfs_client import contract
from tfs_client.flags import add_connection_flags, connection_arguments

_CONFIG: Final = Path("serving/models.config")


def add_place_flags(verb: Any) -> None:
    """Adds --config, and --kubernetes with its kin."""
    verb.add_argument("--config", type=Path, metavar="FILE", help=f"default: {_CONFIG}")
    verb.add_argument("--model", default=contract.MODEL_NAME, help="%(default)s")
    group = verb.add_argument_group("in a cluster")
    group.add_argument(
        "--kubernetes",
        action="store_true",
        help="models.config is the one of the ConfigMap, and the servers are all pods",
    )
    group.add_argument("--context", default="", metavar="NAME", help="of the kubeconfig")
    group.add_argument(
        "--namespace", default="", metavar="NAME", help=f"default: {contract.MODEL_NAME}"
    )


def add_server_flags(verb: Any) -> None:
    """Adds --target and what a connection needs."""
    verb.add_argument(
        "--target",
        action="append",
        metavar="HOST:PORT",
        help="gRPC port of the servers: a name stands for all its addresses; may be repeated "
        f"(default: localhost:{contract.GRPC_PORT})",
    )
    verb.add_argument(
        "--direct",
        action="store_true",
        help="with --kubernetes, from inside the cluster: reach pods by their own addresses, "
        "not through kubectl port-forward",
    )
    add_connection_flags(verb)


def add_change_flags(verb: Any) -> None:
    """Adds what a verb wants to know that changes something."""
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


def place(arguments: argparse.Namespace) -> Place:
    """Where models.config lies.

    Raises:
        InputError: flags that exclude each other; no kubectl.
    """
    if not arguments.kubernetes:
        given = [name for name in ("context", "namespace") if getattr(arguments, name)]
        if given or getattr(arguments, "direct", False):
            raise InputError(
                f"Expected --kubernetes with --{(given or ['direct'])[0]}. Received: none."
            )
        return ConfigFile(arguments.config or _CONFIG)
    if arguments.config is not None:
        raise InputError(
            f"Expected one of --kubernetes and --config. Received: both (--config "
            f"{arguments.config}). In a cluster models.config is the one of its ConfigMap."
        )
    from serving.cluster.config_map import ConfigMapFile  # here: a file needs none of it

    return ConfigMapFile(_kubectl(arguments))


def fleet(arguments: argparse.Namespace) -> Fleet:
    """The servers.

    Raises:
        InputError: a name that is not known; flags that exclude each other; no kubectl.
    """
    connection = connection_arguments(arguments)
    if not arguments.kubernetes:
        targets = arguments.target or [f"localhost:{contract.GRPC_PORT}"]
        return Fleet(Addresses(targets), arguments.model, connection)
    if arguments.target:
        raise InputError(
            f"Expected one of --kubernetes and --target. Received: both (--target "
            f"{arguments.target[0]}). In a cluster the servers are all pods."
        )
    from serving.cluster.pods import Pods  # here: servers by their addresses need none of it

    return Fleet(Pods(_kubectl(arguments), direct=arguments.direct), arguments.model, connection)


def settings(arguments: argparse.Namespace) -> Settings:
    """How a change is carried out.

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
    return Settings(
        model=arguments.model,
        by="file" if arguments.kubernetes else arguments.by,
        timeout_s=arguments.timeout_s,
        # A ConfigMap that somebody has just edited is not in every pod yet.
        settled_s=arguments.timeout_s if arguments.kubernetes else SETTLED_S,
        why=arguments.why,
        who=arguments.who,
    )


def _kubectl(arguments: argparse.Namespace) -> Any:
    from serving.cluster.kubectl import NAMESPACE, Kubectl

    return Kubectl(namespace=arguments.namespace or NAMESPACE, context=arguments.context)
