"""`python -m serving.local`."""

import logging
import os
import sys

from serving.local.main import main

if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is closed. A regular exit would spend up to seconds on a busy machine on freeing
    # memory that the system frees anyway.
    os._exit(code)
