"""A plain gRPC server in a process of its own, to be killed and started again on the same port.

python -m tests.e2e.plain_server PORT
"""

from __future__ import annotations

import sys
import threading

from serving.client.tests.model_server import ModelServer

if __name__ == "__main__":
    ModelServer(port=int(sys.argv[1]))
    threading.Event().wait()
