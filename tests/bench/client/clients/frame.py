"""What the clients that are compared have in common: asked on stdin, answer on stdout, in JSON.

    python with_….py FOLDER       a folder that tests/bench/client/material.py has filled

One object a line each way; `_Asked` has a method for each {"do": …}. Run by the client's own
environment, so it imports gRPC and numpy and nothing of this project.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np

MODEL = "image_classifier"
PREDICT = "/tensorflow.serving.PredictionService/Predict"

CASES = {
    "pixels": ("predict_images", "images"),
    "tensor": ("tensor", "x"),
    "files": ("serving_default", "image_bytes"),
}
"""What is encoded → signature and input: uint8 [32, 64, 64, 3]; float32 [256, 256, 16]; 32 PNG."""

FORMS = ("content", "values")
"""A float32 answer of 4 MiB as tensor_content, and as float_val (packed)."""

PROBABILITY, LABEL = 0.25, b"defective"
"""What every call is answered."""

DEADLINE_S = 10.0

Outputs = Mapping[str, Any]


def load(folder: Path, case: str) -> Any:
    """A case's input: an array, or a list of bytes."""
    if case == "files":
        return [path.read_bytes() for path in sorted(folder.glob("*.png"))]
    return np.load(folder / f"{case}.npy")


class Client:
    """What a client can do; each script fills it in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def encoder(self, case: str) -> Callable[[], bytes]:
        """A function that makes a Predict request of the case's input, each time anew."""
        raise NotImplementedError

    def decode(self, answer: bytes) -> Outputs:
        """The arrays of a Predict answer."""
        raise NotImplementedError

    def caller(self, address: str) -> Callable[[], Outputs]:
        """A function that asks about one image of uint8 [1, 64, 64, 3], over one connection."""
        raise NotImplementedError

    def async_caller(self, address: str) -> Callable[[], Awaitable[Outputs]]:
        """The same for an event loop."""
        raise NotImplementedError

    def request(self) -> bytes:
        """The bytes of the request that the callers send."""
        raise NotImplementedError

    def own(self, asked: dict[str, Any]) -> Any:
        """Answers what only one of them is asked."""
        raise NotImplementedError(asked)


def serve(client: Client) -> int:
    """Answers until stdin ends."""
    answers = _Asked(client)
    for line in sys.stdin:
        asked = json.loads(line)
        method = getattr(answers, asked["do"], None)
        if method is None:
            answer = client.own(asked)
        else:
            del asked["do"]
            answer = method(**asked)
        print(json.dumps(answer), flush=True)
    return 0


class _Asked:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._loop = asyncio.new_event_loop()
        self._open: dict[tuple[str, str], tuple[Any, Any]] = {}

    def request_bytes(self, case: str) -> str:
        """A case's request, base64."""
        return base64.b64encode(self._client.encoder(case)()).decode()

    def encode(self, case: str, repeats: int) -> dict[str, list[float]]:
        """Seconds from input to request bytes, and of one copy of the input, in turns."""
        encode = self._client.encoder(case)
        value = load(self._client.folder, case)
        copy = (lambda: b"".join(value)) if isinstance(value, list) else value.tobytes
        encode(), copy()
        took: dict[str, list[float]] = {"took_s": [], "copy_s": []}
        for _ in range(repeats):
            for name, function in (("copy_s", copy), ("took_s", encode)):
                begin = time.perf_counter()
                function()
                took[name].append(time.perf_counter() - begin)
        return took

    def is_right_answer(self, form: str) -> bool:
        """Whether the arrays of an answer are what they should be."""
        (array,) = self._client.decode(self._answer(form)).values()
        expected = np.load(self._client.folder / "large.npy")
        return bool(array.dtype == expected.dtype and np.array_equal(array, expected))

    def decode(self, form: str, repeats: int) -> list[float]:
        """Seconds from answer bytes to arrays."""
        answer = self._answer(form)
        self._client.decode(answer)
        took = []
        for _ in range(repeats):
            begin = time.perf_counter()
            self._client.decode(answer)
            took.append(time.perf_counter() - begin)
        return took

    def calls(self, address: str, kind: str, pairs: int) -> dict[str, Any]:
        """Seconds of calls by a bare stub and by the client, in turns, and how many went wrong.

        Args:
            address: of the server.
            kind: threads or asyncio.
            pairs: so many of each.
        """
        bare, own = self._callers(address, kind)
        run = _turns if kind == "threads" else self._async_turns
        bare_s, own_s, wrong = run(bare, own, self._answer("outputs"), pairs)
        return {"bare_s": bare_s, "took_s": own_s, "wrong": wrong}

    def memory(
        self, address: str, kind: str, warm_up: int, calls: int, every: int
    ) -> dict[str, Any]:
        """Resident MB after every so many of the client's calls, those to warm up left out."""
        _, own = self._callers(address, kind)
        ask = _ask if kind == "threads" else self._async_ask
        wrong = ask(own, warm_up)
        resident = [resident_mb()]
        for _ in range(0, calls, every):
            wrong += ask(own, every)
            resident.append(resident_mb())
        return {"resident_mb": resident, "wrong": wrong}

    def _async_turns(self, bare: Any, own: Any, answer: bytes, pairs: int) -> Any:
        return self._loop.run_until_complete(_async_turns(bare, own, answer, pairs))

    def _async_ask(self, own: Any, calls: int) -> int:
        async def ask() -> int:
            return sum([not _is_right(await own()) for _ in range(calls)])

        return self._loop.run_until_complete(ask())

    def _callers(self, address: str, kind: str) -> tuple[Any, Any]:
        """The bare stub's call and the client's, over connections that are made once."""
        if (address, kind) not in self._open:
            request = self._client.request()
            if kind == "threads":
                stub = grpc.insecure_channel(address).unary_unary(PREDICT)
                own: Any = self._client.caller(address)
            else:
                asyncio.set_event_loop(self._loop)
                stub = grpc.aio.insecure_channel(address).unary_unary(PREDICT)
                own = self._client.async_caller(address)
            self._open[address, kind] = (lambda: stub(request)), own
        return self._open[address, kind]

    def _answer(self, name: str) -> bytes:
        return (self._client.folder / f"{name}.answer").read_bytes()


def _turns(
    bare: Callable[[], bytes], own: Callable[[], Outputs], answer: bytes, pairs: int
) -> tuple[list[float], list[float], int]:
    """One call after the other; who is first changes from pair to pair."""
    taken: tuple[list[float], list[float]] = ([], [])
    wrong = 0
    for pair in range(pairs):
        for who in (0, 1) if pair % 2 else (1, 0):
            call = own if who else bare
            begin = time.perf_counter()
            got = call()
            taken[who].append(time.perf_counter() - begin)
            wrong += not (_is_right(got) if who else got == answer)
    return *taken, wrong


async def _async_turns(
    bare: Callable[[], Any], own: Callable[[], Any], answer: bytes, pairs: int
) -> tuple[list[float], list[float], int]:
    """As _turns, awaited."""
    taken: tuple[list[float], list[float]] = ([], [])
    wrong = 0
    for pair in range(pairs):
        for who in (0, 1) if pair % 2 else (1, 0):
            call = own if who else bare
            begin = time.perf_counter()
            got = await call()
            taken[who].append(time.perf_counter() - begin)
            wrong += not (_is_right(got) if who else got == answer)
    return *taken, wrong


def _ask(own: Callable[[], Outputs], calls: int) -> int:
    """So many calls; how many went wrong."""
    return sum(not _is_right(own()) for _ in range(calls))


def _is_right(outputs: Outputs) -> bool:
    return (
        len(outputs) == 4
        and outputs["probability"][0] == PROBABILITY
        and outputs["label"][0] == LABEL
        and not outputs["needs_review"][0]
        and bool(outputs["valid"][0])
    )


def resident_mb() -> float:
    """What this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
