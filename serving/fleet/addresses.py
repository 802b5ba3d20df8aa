"""Servers by their addresses: a fleet whose members are named on the command line.

A name may stand for several servers, but a call through it reaches only one of them. So names are
resolved here, and every address is a server of its own.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence

from foundation.command_line import InputError
from serving.fleet.fleet import Member


class Addresses:
    """All servers behind some targets; the names are resolved once.

    Args:
        targets: host:port each; a name stands for all of its addresses.

    Raises:
        InputError: a name that is not known.
    """

    def __init__(self, targets: Sequence[str]):
        found = {address: target for target in targets for address in addresses(target)}
        self._members = [
            Member(name=address, target=address, host=_host(target))
            for address, target in found.items()
        ]

    def now(self) -> Sequence[Member]:
        """All of them: one that does not answer is a problem."""
        return self._members

    def absent(self) -> Mapping[str, str]:
        """None."""
        return {}

    def hasten(self) -> None:
        """Does nothing: these servers read the file itself."""

    def close(self) -> None:
        """Does nothing: nothing was opened."""


def addresses(target: str) -> list[str]:
    """All addresses of a name: those of IPv4 if it has any, else those of IPv6.

    A name with addresses of both kinds lists the same servers twice.

    Raises:
        InputError: no such name, or no host:port.
    """
    plain = target.removeprefix("dns:///")
    host, colon, port = plain.rpartition(":")
    if plain.startswith(("ipv4:", "ipv6:")):
        kind, _, listed = plain.partition(":")
        return [one for one in listed.split(",") if one] if kind == "ipv4" else [plain]
    if not colon or not port.isdigit() or plain.startswith("unix"):
        return [target]  # the client has the right error for it
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, OverflowError) as error:
        raise InputError(
            f"Expected the name of a server. Received: {host} ({error}). Check --target {target}"
        ) from error
    of_ipv4 = [one for one in found if one[0] == socket.AF_INET]
    hosts = dict.fromkeys(str(one[4][0]) for one in of_ipv4 or found)
    return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in sorted(hosts)]


def _host(target: str) -> str:
    """The name in the certificate, where a name was given."""
    host = target.removeprefix("dns:///").rpartition(":")[0].strip("[]")
    return host if re.search("[a-z]", host, re.IGNORECASE) else ""
