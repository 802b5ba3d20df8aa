"""Which models.config, and which servers: a folder's and those of --target, or a cluster's.

The flags that say so, and what they mean.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from foundation.command_line import InputError
from serving.cluster.kubectl import NAMESPACE
from serving.fleet.addresses import Addresses
from serving.fleet.config_file import ConfigFile
from serving.fleet.fleet import Fleet, Members
from serving.fleet.place import Place
from tfs_client import contract
from tfs_client.flags import add_connection_flags, connection_arguments

_CONFIG: Final = Path("serving/models.config")


@dataclass(frozen=True, kw_only=True)
class Where:
    """One model, the models.config that lists it, and the servers that serve it."""

    place: Place
    model: str
    in_cluster: bool
    members: Callable[[], Members]
    """Finds the servers."""
    connection: Mapping[str, Any]
    """Further arguments of Client."""

    def fleet(self) -> Fleet:
        """The servers.

        Raises:
            InputError: a name that is not known.
        """
        return Fleet(self.members(), self.model, self.connection)


def add_place_flags(verb: Any) -> None:
    """Adds --config, --model, and --kubernetes with the flags that belong to it."""
    verb.add_argument("--config", type=Path, metavar="FILE", help=f"default: {_CONFIG}")
    verb.add_argument("--model", default=contract.MODEL_NAME, help="%(default)s")
    group = verb.add_argument_group("in a cluster")
    group.add_argument(
        "--kubernetes",
        action="store_true",
        help="models.config is the one of the ConfigMap, and the servers are all pods",
    )
    group.add_argument("--context", default="", metavar="NAME", help="of the kubeconfig")
    group.add_argument("--namespace", default="", metavar="NAME", help=f"default: {NAMESPACE}")


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


def read(arguments: argparse.Namespace) -> Where:
    """What the flags say; a verb without --target asks no server.

    Raises:
        InputError: flags that exclude each other; no kubectl.
    """
    asks_servers = hasattr(arguments, "target")
    connection = connection_arguments(arguments) if asks_servers else {}
    targets: list[str] = (asks_servers and arguments.target) or []
    direct: bool = asks_servers and arguments.direct
    if arguments.kubernetes:
        if arguments.config is not None:
            raise InputError(
                f"Expected one of --kubernetes and --config. Received: both (--config "
                f"{arguments.config}). In a cluster models.config is the one of its ConfigMap."
            )
        if targets:
            raise InputError(
                f"Expected one of --kubernetes and --target. Received: both (--target "
                f"{targets[0]}). In a cluster the servers are all pods."
            )
        return _in_cluster(arguments, connection, direct=direct)
    given = [name for name in ("context", "namespace") if getattr(arguments, name)]
    if given or direct:
        raise InputError(
            f"Expected --kubernetes with --{(given or ['direct'])[0]}. Received: none."
        )
    return Where(
        place=ConfigFile(arguments.config or _CONFIG),
        model=arguments.model,
        in_cluster=False,
        members=lambda: Addresses(targets or [f"localhost:{contract.GRPC_PORT}"]),
        connection=connection,
    )


def _in_cluster(
    arguments: argparse.Namespace, connection: Mapping[str, Any], *, direct: bool
) -> Where:
    # Imported here: a file and servers by their addresses need none of it.
    from serving.cluster.config_map import ConfigMapFile
    from serving.cluster.kubectl import Kubectl
    from serving.cluster.pods import Pods

    kubectl = Kubectl(namespace=arguments.namespace or NAMESPACE, context=arguments.context)
    return Where(
        place=ConfigMapFile(kubectl),
        model=arguments.model,
        in_cluster=True,
        members=lambda: Pods(kubectl, direct=direct),
        connection=connection,
    )
