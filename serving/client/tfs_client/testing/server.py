"""A model server that answers as a test says, over real gRPC on a real port."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from types import TracebackType
from typing import Any

import grpc

from tfs_client.errors import AnswerError
from tfs_client.testing.answering import Fake
from tfs_client.testing.served import requests
from tfs_client.testing.served.fake_model import FakeModel
from tfs_client.testing.served.wording import Failure, ScriptError

Handler = Callable[[Any, grpc.ServicerContext], Any]
"""Takes a request's message and gRPC's context, returns the response's message or its bytes."""


class FakeServer(Fake):
    """Serves on a free port of this machine, from when it is made until it is closed.

        with FakeServer() as server, Client(server.target) as client:
            server.answers(label="sound", probability=0.1)
            assert ImageClassifier(client).predict(example_picture()).label == "sound"

    It runs in threads of its own, so clients may be in this thread, in an event loop or in another
    process. Several servers may run at once. At the end of its `with` block it raises what went
    wrong with the script: a caller may have caught the error, or asked somebody else.

    Args:
        models: what it serves; none means ImageModel(), the contract's image classifier.
        port: 0 means a free one.
        host: the address to serve on.
        credentials: for TLS; None means plain text.
        threads: requests at once; more wait.
        options: gRPC's arguments for servers, such as ("grpc.max_connection_age_ms", 1000).

    Attributes:
        target: host:port, for a client.
        port: where it serves.
        models: by name; versions and labels may be changed.
        handlers: short name of a method to a function that answers it in place of the script: it
            takes the message (of tfs_client.protocol.messages) and gRPC's context, and returns the
            response's message, or bytes. For what no server that works says; see `usual`.

    Raises:
        ScriptError: models that are none, or the port is taken.
    """

    def __init__(
        self,
        *models: FakeModel,
        port: int = 0,
        host: str = "127.0.0.1",
        credentials: grpc.ServerCredentials | None = None,
        threads: int = 16,
        options: Sequence[tuple[str, Any]] = (),
    ):
        super().__init__(models)
        self.handlers: dict[str, Handler] = {}
        self.port = port
        self._host = host
        self._credentials = credentials
        self._threads = threads
        self._options = options
        self._ending = threading.Event()
        self._server: grpc.Server | None = None
        self.start()
        self.target = f"{host}:{self.port}"

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        self._end_of_block(error)

    async def __aenter__(self) -> FakeServer:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.close)
        self._end_of_block(error)

    def start(self) -> None:
        """Serves again after `stop`, on the same port; does nothing where it serves.

        Clients that were refused meanwhile connect again within two seconds.

        Raises:
            ScriptError: it was closed, or the port is taken.
        """
        self._book.check_usable()
        if self._server is not None:
            return
        self._ending = threading.Event()
        server = grpc.server(
            futures.ThreadPoolExecutor(self._threads, thread_name_prefix="tfs-fake-server"),
            # As TensorFlow Serving: requests of up to 2 GiB, and a port of its own.
            options=(
                ("grpc.max_receive_message_length", -1),
                ("grpc.so_reuseport", 0),
                *self._options,
            ),
        )
        server.add_generic_rpc_handlers((_Methods(self._answered),))
        address = f"{self._host}:{self.port}"
        try:
            if self._credentials is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise ScriptError(
                f"Expected a free port. Received: {address}, where something listens; leave the "
                "port out for a free one"
            ) from error
        if not self.port:  # older versions of gRPC
            raise ScriptError(f"Expected a free port. Received: {address}, which cannot be taken")
        server.start()
        self._server = server

    def stop(self) -> None:
        """Ends all connections, and what is under way; callers are then refused until `start`.

        A function that answers requests may call it: a server that falls over a request.
        """
        if self._server is not None:
            self._ending.set()
            self._server.stop(None).wait()
            self._server = None

    def close(self) -> None:
        """Stops for good. May be called twice."""
        self.stop()
        self._book.closed = True

    def usual(self, call: str) -> Handler:
        """The function that answers a method from the script, for use in a handler.

        Args:
            call: the method's short name.
        """

        def answer(message: Any, context: grpc.ServicerContext) -> Any:
            request = requests.of_message(call, message, _pairs(context), None)
            return self._from_script(self._resolved(request), context)

        return answer

    def _answered(self, call: str, data: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            request = requests.read(call, data, _pairs(context), context.time_remaining())
        except AnswerError:
            context.abort(grpc.StatusCode.INTERNAL, "Exception deserializing request!")
        request = self._record(request)
        handler = self.handlers.get(call)
        if handler is None:
            answer = self._from_script(request, context)
        else:
            answer = handler(request.message, context)
        return answer if isinstance(answer, bytes) else answer.SerializeToString()

    def _from_script(self, request: requests.Request, context: grpc.ServicerContext) -> Any:
        ending = self._ending
        outcome = self._respond(request)
        if outcome.delay_s:
            given_up = threading.Event()
            if not context.add_callback(given_up.set):
                given_up.set()
            _wait(outcome.delay_s, ending, given_up)
        failure = outcome.answer
        if isinstance(failure, Failure):
            words = failure.details(
                request.model, request.label, request.version, request.signature
            )
            context.abort(failure.code, words)
        return outcome.answer


class _Methods(grpc.GenericRpcHandler):
    """TensorFlow Serving's methods, by their paths."""

    def __init__(self, answer: Callable[[str, bytes, grpc.ServicerContext], bytes]):
        self._answer = answer

    def service(
        self, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """What answers a method; None for one that model servers do not have."""
        call = requests.CALL_OF.get(details.method)
        if call is None:
            return None
        return grpc.unary_unary_rpc_method_handler(
            lambda data, context: self._answer(call, data, context)
        )


def _pairs(context: grpc.ServicerContext) -> Mapping[str, str | bytes]:
    return dict(context.invocation_metadata())


def _wait(seconds: float, ending: threading.Event, given_up: threading.Event) -> None:
    """Waits, unless the server ends or the caller gives up."""
    end = time.monotonic() + seconds
    while not ending.is_set() and (left_s := end - time.monotonic()) > 0:
        if given_up.wait(min(left_s, 0.05)):
            return
