"""tfs: ask a model server from the command line.

    tfs predict cell.png folder/ --label stable
    tfs predict --model affine --inputs '{"x": [1, 2, 3]}'
    tfs metadata | tfs status | tfs wait-ready --label stable --timeout-s 60
    tfs bench --concurrency 8 --duration-s 10
    tfs shadow-report shadow.jsonl

The result goes to stdout (a table, or JSON with --json), progress and errors go to stderr. Exit
code:

    0  all is well
    1  an image is not valid; the table has it, and all others. bench: a call failed
    2  no answer, or a mistake in the command
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from tfs_client.cli.output import say
from tfs_client.cli.parser import make_parser
from tfs_client.errors import TfsError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    # gRPC would write lines between ours; it reads this when the first channel is opened.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    arguments = make_parser().parse_args(argv)
    try:
        code: int = arguments.command(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `tfs predict … | head`
        sys.stderr.close()
        return 2
    except (TfsError, OSError) as error:
        say(f"tfs: error: {' '.join(str(error).split())}", sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tfs: interrupted", file=sys.stderr)
        return 130
