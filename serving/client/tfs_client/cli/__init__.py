"""tfs: ask a model server from the command line.

    tfs predict cell.png folder/ --label stable
    tfs predict --model affine --inputs '{"x": [1, 2, 3]}'
    tfs metadata | tfs status | tfs wait-ready --label stable --timeout-s 60
    tfs bench --concurrency 8 --duration-s 10
    tfs shadow-report shadow.jsonl
    tfs completion bash

The result goes to stdout (a table, JSON with --json, or CSV), progress and errors go to stderr.
TFS_TARGET and TFS_MODEL stand in for --target and --model. Exit code:

    0  all is well
    1  an image is not valid; the table has it, and all others. bench: a call failed
    2  no answer, or a mistake in the command; images that were answered before are printed
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

from tfs_client.cli.arguments import parse, settle
from tfs_client.cli.output import say
from tfs_client.cli.parser import make_parser
from tfs_client.errors import TfsError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    # gRPC would write lines between ours; it reads this when the first channel is opened.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    arguments = parse(*make_parser(), sys.argv[1:] if argv is None else argv)
    used: list[str] = []
    try:
        used = settle(arguments)
        code: int = arguments.command(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `tfs predict … | head`
        sys.stderr.close()
        return 2
    except (TfsError, OSError) as error:
        text = " ".join(str(error).split())
        told = [one for one in used if _names(text, os.environ[one])]
        say(f"tfs: error: {text}{_from(told)}", sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tfs: interrupted", file=sys.stderr)
        return 130


def _names(text: str, value: str) -> bool:
    """Whether an error names a value, and not only a longer word with it."""
    return re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) is not None


def _from(variables: Sequence[str]) -> str:
    """Where a value comes from that no flag gave."""
    return f" (from {' and '.join(variables)})" if variables else ""
