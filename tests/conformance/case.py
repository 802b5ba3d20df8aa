"""What a case of the conformance table is, and the functions that the table is written with.

A case is one request and what it must get, or a few of them in a row (a reload, then a question).
Cases stand alone: each may be asked first, last or never. Answers are written as protobuf's JSON
form of the message; `…` in an expected text stands for anything (a node's name, a path).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal

ANYTHING: Final = "…"

MODELS: Final = "$MODELS"
"""In a request or an answer: the folder of the models, as the server sees it."""


class Source(Enum):
    """Where an expectation comes from."""

    RECORDED = "recorded"
    """A real TensorFlow Serving 2.19.1 was seen to answer so."""
    READ = "read"
    """Read in TensorFlow Serving's source."""
    OWN = "own"
    """The local server differs on purpose, see `Case.why`; another server is not asked."""


Setup = Literal["default", "flags"]
"""Which of the two servers is asked: one with TensorFlow Serving's defaults, or one with flags."""


@dataclass(frozen=True)
class Rpc:
    """A gRPC call: the request in text form, or its bytes."""

    method: str
    request: str | bytes
    timeout_s: float = 20.0

    def __str__(self) -> str:
        if isinstance(self.request, bytes):
            return f"{self.method} {_shown(self.request)}"
        return f"{self.method} {self.request}".strip()


@dataclass(frozen=True)
class Http:
    """An HTTP request; the path is sent as it is."""

    verb: str
    path: str
    body: str | bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        body = _shown(self.body) if isinstance(self.body, bytes) else self.body or ""
        headers = "".join(f" {name}: {value}" for name, value in self.headers)
        return f"{self.verb} {self.path}{headers} {body}".strip()


@dataclass(frozen=True)
class Bytes:
    """What is written to the REST port as it is; only the first line of the answer is read."""

    content: bytes

    def __str__(self) -> str:
        return _shown(self.content)


@dataclass(frozen=True)
class Together:
    """gRPC calls that are sent at the same time."""

    calls: tuple[Rpc, ...]

    def __str__(self) -> str:
        return " | ".join(str(call) for call in self.calls)


Request = Rpc | Http | Bytes | Together


@dataclass(frozen=True)
class Answer:
    """A gRPC call's answer in protobuf's JSON form."""

    message: Any


@dataclass(frozen=True)
class Refused:
    """A gRPC call's status; several codes where the transport decides."""

    codes: tuple[str, ...]
    text: str = ANYTHING


@dataclass(frozen=True)
class Page:
    """An HTTP answer.

    `content` is text, compared as it is, or what the JSON holds. None: nothing is asked of it. A
    header whose text is empty must not be there.
    """

    status: int
    content: Any = None
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Statuses:
    """The HTTP status that `Bytes` get, None where the connection is closed without one."""

    allowed: tuple[int | None, ...]


@dataclass(frozen=True)
class Each:
    """What calls that are sent together get."""

    expected: tuple[Answer | Refused, ...]


Expected = Answer | Refused | Page | Statuses | Each


@dataclass(frozen=True)
class Step:
    """A request and what it must get: at once, or (after a reload) within some seconds, asked again
    and again.
    """

    request: Request
    expected: Expected
    eventually: bool = False


@dataclass(frozen=True)
class Case:
    """A name, one or more steps, and where the expectation comes from."""

    name: str
    source: Source
    steps: tuple[Step, ...]
    setup: Setup = "default"
    reloads: bool = False
    """Changes the configuration; it is put back afterwards."""
    why: str = ""
    """Why the local server differs on purpose; empty where it does not."""
    ends: bool = False
    """The request can end a TensorFlow Serving: another server is asked it only on demand."""


@dataclass(frozen=True)
class Subject:
    """Cases that belong together."""

    name: str
    cases: tuple[Case, ...]


def recorded(name: str, request: Request, expected: Expected, setup: Setup = "default") -> Case:
    return Case(name, Source.RECORDED, (Step(request, expected),), setup)


def read(name: str, request: Request, expected: Expected, setup: Setup = "default") -> Case:
    return Case(name, Source.READ, (Step(request, expected),), setup)


def own(
    name: str,
    request: Request,
    expected: Expected,
    why: str,
    setup: Setup = "default",
    ends: bool = False,
) -> Case:
    return Case(name, Source.OWN, (Step(request, expected),), setup, why=why, ends=ends)


def reload(name: str, *steps: Step, setup: Setup = "default") -> Case:
    return Case(name, Source.RECORDED, steps, setup, reloads=True)


def refused(code: str, text: str = ANYTHING) -> Refused:
    return Refused((code,), text)


def invalid(text: str = ANYTHING) -> Refused:
    return refused("INVALID_ARGUMENT", text)


def predict(request: str) -> Rpc:
    return Rpc("Predict", request)


def post(path: str, body: str | bytes, *headers: tuple[str, str]) -> Http:
    return Http("POST", path, body, headers)


def get(path: str) -> Http:
    return Http("GET", path)


def error(status: int, text: str) -> Page:
    """REST's form of an error."""
    return Page(status, {"error": text})


def tensor(dtype: str, shape: list[int], **values: list[Any]) -> dict[str, Any]:
    """A TensorProto in protobuf's JSON form: sizes are strings, a size of zero is left out."""
    dims = [{"size": str(size)} if size else {} for size in shape]
    return {"dtype": f"DT_{dtype}", "tensor_shape": {"dim": dims} if dims else {}, **values}


def floats(*values: float | str, shape: list[int] | None = None) -> dict[str, Any]:
    """A vector of float32, or those values in another shape."""
    held = {"float_val": list(values)} if values else {}
    return tensor("FLOAT", [len(values)] if shape is None else shape, **held)


def spec(name: str, version: int, signature: str | None = "serving_default") -> dict[str, str]:
    """The model_spec of an answer."""
    found = {"name": name, "version": str(version)}
    return found if signature is None else {**found, "signature_name": signature}


def predicted(
    name: str, version: int, signature: str = "serving_default", /, **outputs: Any
) -> Answer:
    """A PredictResponse."""
    return Answer({"outputs": outputs, "model_spec": spec(name, version, signature)})


def _shown(content: bytes) -> str:
    text = repr(content)
    return text if len(text) < 120 else f"{text[:80]}… ({len(content)} bytes)"
