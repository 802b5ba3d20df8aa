"""`python -m tfs_client` is `tfs`."""

import sys

from tfs_client.cli import main

sys.exit(main())
