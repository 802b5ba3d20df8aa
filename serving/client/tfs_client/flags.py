"""Command-line flags for a Client's connection, TLS and a token, and the arguments that they make.

For tfs, and for other commands that open a Client. They read no environment variables: TFS_TARGET
and TFS_MODEL are tfs's own, and a command that changes servers should be told which by a flag.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tfs_client.call.channel import Tls


def add_connection_flags(parser: Any) -> None:
    """Adds --tls, --tls-roots and the other flags of TLS, and --token-file.

    Args:
        parser: argparse's, or one of its subparsers.
    """
    group = parser.add_argument_group("connection")
    group.add_argument("--tls", action="store_true", help="use TLS (implied by the next four)")
    group.add_argument(
        "--tls-roots",
        type=Path,
        metavar="PEM",
        help="authorities of the server's certificate",
    )
    group.add_argument(
        "--tls-certificate", type=Path, metavar="PEM", help="the client's own certificate"
    )
    group.add_argument("--tls-key", type=Path, metavar="PEM", help="its private key")
    group.add_argument(
        "--tls-server-name",
        metavar="NAME",
        help="name in the server's certificate",
    )
    group.add_argument("--token-file", type=Path, metavar="FILE", help="file with a bearer token")


def connection_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """Client's arguments `tls` and `token`.

    Args:
        arguments: parsed with the flags above.

    Raises:
        TargetError: a certificate without its key, or the reverse.
        OSError: the token's file cannot be read.
    """
    tls: bool | Tls = arguments.tls
    files = (arguments.tls_roots, arguments.tls_certificate, arguments.tls_key)
    if any(files) or arguments.tls_server_name:
        roots, certificate, key = files
        tls = Tls(
            roots=roots, certificate=certificate, key=key, server_name=arguments.tls_server_name
        )
    token = arguments.token_file.read_text().strip() if arguments.token_file else None
    return {"tls": tls, "token": token}
