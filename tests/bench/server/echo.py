"""A bare gRPC server that answers bytes with bytes: what Python's gRPC costs by itself.

    python -m tests.bench.server.echo

Prints its port. A call to /Echo/<n> is answered with n bytes. Made as the local server's transport
is: synchronous, a pool of threads, no messages.
"""

from __future__ import annotations

import sys
from concurrent import futures
from typing import Any

import grpc


def main() -> int:
    """Serves until it is killed."""
    threads = futures.ThreadPoolExecutor(128)
    server = grpc.server(threads, options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Echo(),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()
    return 0


class _Echo(grpc.GenericRpcHandler):  # type: ignore[misc]
    def service(self, call: Any) -> Any:
        answer = bytes(int(call.method.rpartition("/")[2]))
        return grpc.unary_unary_rpc_method_handler(lambda request, context: answer)


if __name__ == "__main__":
    sys.exit(main())
