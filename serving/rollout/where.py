"""Which models.config, and which servers: a folder's and those of --target, or a cluster's.

The flags that say so, what they mean, and what to type to come back to the same place.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from foundation.command_line import InputError, one_line
from serving.cluster.kubectl import NAMESPACE, Kubectl, current_context
from serving.fleet.addresses import Addresses
from serving.fleet.config_file import ConfigFile
from serving.fleet.fleet import Fleet, Members
from serving.fleet.place import Place
from tfs_client import contract
from tfs_client.flags import add_connection_flags, connection_arguments

_CONFIG: Final = Path("serving/models.config")

_OWN_TARGETS: Final = ("status", "promote", "rollback")
"""Verbs with a target of their own in the Makefile: k8s-status and so on."""


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
    cluster: Callable[[], str] = str
    """The cluster in words; empty where there is none."""
    namespace: str = ""
    """Of the cluster; empty where there is none."""
    flags: Sequence[str] = ()
    """Those that name this place, where it is not the usual one."""

    def fleet(self) -> Fleet:
        """The servers.

        Raises:
            InputError: a name that is not known.
        """
        return Fleet(self.members(), self.model, self.connection)

    def typed(self, verb: str) -> str:
        """The command for a verb at this place, such as `make rollout ARGS=apply`."""
        target = "k8s-rollout" if self.in_cluster else "rollout"
        return _make(target, [*verb.split(), *self.flags])

    def cluster_instead(self, verb: str) -> str:
        """Asks whether a cluster was meant, where no server of a host answers.

        Args:
            verb: with its version, such as "canary 2".

        Returns:
            A sentence with what to type; empty where no kube context is configured.
        """
        if self.in_cluster:
            return ""
        context = current_context()
        if not context:
            return ""
        words = verb.split()
        if words[0] in _OWN_TARGETS:
            command = _make(f"k8s-{words[0]}", words[1:])
        elif words[0] == "canary":
            command = f"make k8s-canary VERSION={words[1]}"
        else:
            command = _make("k8s-rollout", words)
        return (
            f"Was the cluster meant? The kube context is {one_line(context)}: {command} "
            f"(its namespace is {NAMESPACE}, or --namespace NAME in ARGS)"
        )


def _make(target: str, arguments: Sequence[str]) -> str:
    if not arguments:
        return f"make {target}"
    # Quoted once for the command that make starts, and again for the shell in which one types.
    return f"make {target} ARGS={shlex.quote(shlex.join(arguments))}"


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
    group.add_argument("--context", metavar="NAME", help="of the kubeconfig")
    group.add_argument("--namespace", metavar="NAME", help=f"default: {NAMESPACE}")


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
        InputError: flags that exclude each other, or are empty; no kubectl.
    """
    asks_servers = hasattr(arguments, "target")
    connection = connection_arguments(arguments) if asks_servers else {}
    targets: list[str] = (asks_servers and arguments.target) or []
    direct: bool = asks_servers and arguments.direct
    for name in ("context", "namespace"):
        if getattr(arguments, name) == "":
            raise InputError(
                f"Expected a name with --{name}. Received: nothing. Leave the flag out for the "
                "usual one."
            )
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
        flags=_flags(arguments, targets),
    )


def _in_cluster(
    arguments: argparse.Namespace, connection: Mapping[str, Any], *, direct: bool
) -> Where:
    # Imported here: a file and servers by their addresses need none of it.
    from serving.cluster.config_map import ConfigMapFile
    from serving.cluster.pods import Pods

    namespace = arguments.namespace or NAMESPACE
    kubectl = Kubectl(namespace=namespace, context=arguments.context or "")
    place = ConfigMapFile(kubectl)
    return Where(
        place=place,
        model=arguments.model,
        in_cluster=True,
        members=lambda: Pods(kubectl, direct=direct),
        connection=connection,
        cluster=lambda: place.cluster,
        namespace=namespace,
        flags=[*_flags(arguments, ()), *(["--direct"] if direct else [])],
    )


def _flags(arguments: argparse.Namespace, targets: Sequence[str]) -> list[str]:
    """The flags that name the place; TLS and a token's file are left to whoever types."""
    found = []
    for name in ("config", "context", "namespace"):
        if getattr(arguments, name) is not None:
            found += [f"--{name}", str(getattr(arguments, name))]
    if arguments.model != contract.MODEL_NAME:
        found += ["--model", arguments.model]
    for target in targets:
        found += ["--target", target]
    return found
