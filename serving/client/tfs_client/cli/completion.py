"""tfs completion: what makes a shell complete commands, flags and files. shtab writes it.

    source <(tfs completion bash)
    tfs completion zsh > "${fpath[1]}/_tfs"
    tfs completion fish > ~/.config/fish/completions/tfs.fish

What is printed holds all names, so that completing starts no Python.
"""

from __future__ import annotations

import argparse
from typing import Final

from tfs_client.errors import RequestError

SHELLS: Final = ("bash", "zsh", "fish")

_FILES: Final = frozenset(
    ("image", "inputs", "file", "tls_roots", "tls_certificate", "tls_key", "token_file")
)
"""The arguments that are paths."""


def completion(arguments: argparse.Namespace) -> int:
    """`tfs completion`: prints the script for a shell."""
    try:
        import shtab
    except ImportError as error:
        raise RequestError(
            "Expected shtab, which writes what shells complete. Received: no module shtab; "
            "pip install 'tfs-client[completion]'"
        ) from error
    parser, verbs = arguments.parsers
    for verb in verbs.values():
        for action in verb._actions:
            if action.dest in _FILES:
                action.complete = shtab.FILE  # where shtab looks
    print(shtab.complete(parser, arguments.shell))
    return 0
