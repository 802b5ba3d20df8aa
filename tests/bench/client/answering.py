"""A gRPC server that answers at once, with bytes that were prepared.

    python -m tests.bench.client.answering FOLDER       as material.py fills it

Prints its port. Reads no request; synchronous, as the bare stub that it is asked by.
"""

from __future__ import annotations

import sys
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc


def main() -> int:
    """Serves until it is killed."""
    folder = Path(sys.argv[1])
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    answers = {
        "Predict": (folder / "outputs.answer").read_bytes(),
        "GetModelMetadata": (folder / "metadata.answer").read_bytes(),
    }
    server.add_generic_rpc_handlers((_Answering(answers),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()
    return 0


class _Answering(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, answers: dict[str, bytes]) -> None:
        self._handlers = {
            method: grpc.unary_unary_rpc_method_handler(lambda request, context, it=answer: it)
            for method, answer in answers.items()
        }

    def service(self, call: Any) -> Any:
        return self._handlers.get(call.method.rpartition("/")[2])


if __name__ == "__main__":
    sys.exit(main())
