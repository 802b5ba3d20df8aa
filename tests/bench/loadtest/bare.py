"""A bare gRPC stub in a loop, in a process of its own: what Python can send at all.

    python -m tests.bench.loadtest.bare HOST:PORT REQUESTS IMAGE

Prints seconds and CPU seconds as JSON. Nothing is written down.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import grpc

from tests.bench.loadtest import delaying
from tfs_client.protocol import METHODS

WARM_UP = 100


def main() -> int:
    """Sends one request after the other."""
    target, count, path = sys.argv[1:]
    asked = delaying.request(Path(path).read_bytes())
    with grpc.insecure_channel(target) as channel:
        predict = channel.unary_unary(METHODS["Predict"])
        for _ in range(WARM_UP):
            predict(asked, timeout=10)
        cpu_s, start = time.process_time(), time.perf_counter()
        for _ in range(int(count)):
            predict(asked, timeout=10)
        took_s = time.perf_counter() - start
        print(json.dumps({"took_s": took_s, "cpu_s": time.process_time() - cpu_s}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
