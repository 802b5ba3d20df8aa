"""Makes the environment .venv, and makes it anew only where the content of its lock has changed.

    python3 -m foundation.make [LOCK]

LOCK has exact versions with hashes; without it the lock that made .venv counts, else
requirements.lock. pip installs uv out of LOCK, and uv the rest. Where there is no uv for this
machine, or it fails, pip installs everything. Costs a minute or two where something has to be made,
else nothing.

.venv/complete says what the environment was made of. It is written last, so what was interrupted is
made again from the beginning. What the programs say is in .venv/setup.log.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from foundation.make import made_of


def main(argv: Sequence[str]) -> int:
    """The command; silent where the environment stands."""
    standing = made_of.read()
    lock = "".join(argv[:1]) or standing.get("lock") or made_of.LOCK
    if standing and standing == made_of.wanted(lock):
        return 0
    # here: what follows takes longer to import than all the above takes
    from foundation import command_line
    from foundation.make import environment

    return command_line.run("make setup", lambda: environment.make(lock))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
