"""Our own client. See frame.py; run by the project's environment."""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import frame
import numpy as np

from tfs_client import AsyncClient, Client
from tfs_client.call.known import KnownRequest
from tfs_client.servable import Servable
from tfs_client.wire import decoding


class Unconnected(Client):
    """A client that is answered at once, without gRPC, and that knows when it would have sent.

    Args:
        folder: holds the answers.
        answer: the name of that to Predict.
    """

    def __init__(self, folder: Path, answer: str) -> None:
        self._answers = {
            "Predict": (folder / f"{answer}.answer").read_bytes(),
            "GetModelMetadata": (folder / "metadata.answer").read_bytes(),
        }
        self.answer = self._answers["Predict"]
        self.sent_at = 0.0
        super().__init__()

    def _stub(self, method: str) -> Callable[..., bytes]:
        answer = self._answers[method.rpartition("/")[2]]

        def call(request: bytes, **_: Any) -> bytes:
            self.sent_at = time.perf_counter()
            return answer

        return call


class WithTfsClient(frame.Client):
    def encoder(self, case: str) -> Callable[[], bytes]:
        """As core.predict does for a signature that is known: checks, then encodes."""
        return self._encoder(case, frame.load(self.folder, case))

    def decode(self, answer: bytes) -> frame.Outputs:
        return decoding.decode_answer(answer).outputs

    def caller(self, address: str) -> Callable[[], frame.Outputs]:
        client = Client(address)
        signature, name = frame.CASES["pixels"]
        inputs = {name: frame.load(self.folder, "pixels")[:1]}
        return lambda: client.predict(inputs, signature=signature).outputs

    def async_caller(self, address: str) -> Callable[[], Awaitable[frame.Outputs]]:
        client = AsyncClient(address)
        signature, name = frame.CASES["pixels"]
        inputs = {name: frame.load(self.folder, "pixels")[:1]}

        async def call() -> frame.Outputs:
            return (await client.predict(inputs, signature=signature)).outputs

        return call

    def request(self) -> bytes:
        return self._encoder("pixels", frame.load(self.folder, "pixels")[:1])()

    def own(self, asked: dict[str, Any]) -> Any:
        if asked["do"] == "until_sent":
            return self._until_sent(asked["case"], asked["repeats"])
        return self._memory_of(asked["form"])

    def _encoder(self, case: str, value: Any) -> Callable[[], bytes]:
        signature, name = frame.CASES[case]
        with Unconnected(self.folder, "outputs") as client:
            known = KnownRequest(Servable(), signature, (), client.metadata())
        inputs = {name: value}
        return lambda: known.encode(inputs)

    def _until_sent(self, case: str, repeats: int) -> list[float]:
        """Seconds from calling Client.predict until gRPC is given the bytes."""
        signature, name = frame.CASES[case]
        inputs = {name: frame.load(self.folder, case)}
        took = []
        with Unconnected(self.folder, "outputs") as client:
            client.predict(inputs, signature=signature)
            for _ in range(repeats):
                begin = time.perf_counter()
                client.predict(inputs, signature=signature)
                took.append(client.sent_at - begin)
        return took

    def _memory_of(self, form: str) -> dict[str, Any]:
        """What Client.predict allocates at most, and whether its array lies in gRPC's bytes."""
        signature, name = frame.CASES["pixels"]
        inputs = {name: frame.load(self.folder, "pixels")[:1]}
        with Unconnected(self.folder, form) as client:
            client.predict(inputs, signature=signature)
            tracemalloc.start()
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            array = client.predict(inputs, signature=signature)["y"]
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return {
                "allocated": peak - before,
                "lies_in_answer": _bottom(array) is client.answer
                and bool(np.shares_memory(array, np.frombuffer(client.answer, np.uint8))),
            }


def _bottom(array: Any) -> Any:
    """What an array's memory belongs to in the end."""
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    return array


if __name__ == "__main__":
    sys.exit(frame.serve(WithTfsClient(Path(sys.argv[1]))))
