"""The simplest gRPC server of Python: bytes in, bytes out, a pool of threads, no messages.

The servers that answer with prepared bytes are made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any

import grpc

Behaviour = Callable[[bytes, Any], bytes]
"""(request, gRPC's context) → answer."""


def start(behaviour_of: Callable[[str], Behaviour | None], threads: int) -> grpc.Server:
    """Starts it and prints its port.

    Args:
        behaviour_of: path of a call → what answers it; None: not implemented.
        threads: so many requests are answered at once.
    """
    pool = futures.ThreadPoolExecutor(threads)
    server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Handlers(behaviour_of),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    return server


def prepared(answers: Mapping[str, bytes]) -> Callable[[str], Behaviour | None]:
    """Behaviours that give the same answer each time, by path."""

    def behaviour_of(path: str) -> Behaviour | None:
        answer = answers.get(path)
        return None if answer is None else lambda request, context: answer

    return behaviour_of


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, behaviour_of: Callable[[str], Behaviour | None]) -> None:
        self._behaviour_of = behaviour_of
        self._known: dict[str, Any] = {}

    def service(self, call: Any) -> Any:
        path = call.method
        if path not in self._known:
            behaviour = self._behaviour_of(path)
            self._known[path] = behaviour and grpc.unary_unary_rpc_method_handler(behaviour)
        return self._known[path]
