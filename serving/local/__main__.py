"""`python -m serving.local`: see serving.local.main."""

from __future__ import annotations

import sys

from serving.local.main import main

if __name__ == "__main__":
    sys.exit(main())
