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
    # Everything is closed. Taking the interpreter and TensorFlow apart would cost up to seconds on
    # a busy machine and free nothing that the system does not.
    os._exit(code)
