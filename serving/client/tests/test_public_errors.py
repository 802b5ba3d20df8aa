"""What an error says to the callers of a service: its HTTP code, and a sentence without internals.

Each class is made as the client makes it, with secrets wherever a server, a file or a caller can
put one.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import pickle
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest

import tfs_client
from tfs_client import (
    AsyncClient,
    Client,
    ImageClassifier,
    ImageError,
    TfsError,
    Tls,
    errors,
)
from tfs_client.images.pictures import Guards

SECRET = "hunter2 at /srv/models on db-7.internal:9000"
"""In a server's words, in names and in paths."""

README = Path(__file__).parents[1] / "README.md"

CODES = {
    "UnavailableError": (grpc.StatusCode.UNAVAILABLE, "down: {}"),
    "OverloadedError": (grpc.StatusCode.RESOURCE_EXHAUSTED, "full: {}"),
    "DeadlineExceededError": (grpc.StatusCode.DEADLINE_EXCEEDED, "late: {}"),
    "NotFoundError": (grpc.StatusCode.NOT_FOUND, "Servable not found for request: {}"),
    "InvalidRequestError": (grpc.StatusCode.INVALID_ARGUMENT, "no: {}"),
    "LabelNotFoundError": (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Unrecognized servable version label: {}",
    ),
    "FailedPreconditionError": (grpc.StatusCode.FAILED_PRECONDITION, "not now: {}"),
    "MessageTooLargeError": (grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max ({})"),
    "NotAllowedError": (grpc.StatusCode.PERMISSION_DENIED, "who are you? {}"),
    "NotServedError": (grpc.StatusCode.UNIMPLEMENTED, "unknown: {}"),
    "CancelledError": (grpc.StatusCode.CANCELLED, "cancelled: {}"),
    "ServerError": (grpc.StatusCode.INTERNAL, "broken: {}"),
}
"""Class -> what a server says, with a place for the secret."""

IN_ANOTHER_PROCESS = {
    "ForkedClientError": """
        import os
        client = Client(sys.argv[1])
        client.predict({"x": [1.0]}, model="echo")
        if os.fork():
            os.wait()
        else:
            with told():
                client.predict({"x": [1.0]}, model="echo")
            sys.stdout.flush()
            os._exit(0)
    """,
    "PillowMissingError": """
        sys.modules["PIL"] = None  # as if it were not installed
        import numpy
        with told(), Client(sys.argv[1]) as client:
            ImageClassifier(client).predict(numpy.zeros((9, 9, 3), numpy.uint8))
    """,
}
"""Class -> a script that prints the pickled error in hex."""

TOLD = """
import contextlib, pickle, sys
from tfs_client import Client, ImageClassifier, TfsError

@contextlib.contextmanager
def told():
    try:
        yield
    except TfsError as error:
        print(pickle.dumps(error).hex())
"""


@pytest.fixture
def caught(server, make_server, free_port, tmp_path) -> Callable[[str], TfsError]:
    """A function that has the client raise an error of a class, by its name."""

    def ask(client: Client, **settings: object) -> object:
        return client.predict({"x": [1.0]}, **{"model": "echo", **settings})

    def pair(**inputs: object) -> Callable[[], object]:
        return lambda: client.predict(inputs, model="echo", signature="pair")

    def circuit() -> None:
        server.handlers["Predict"] = lambda request, context: context.abort(
            grpc.StatusCode.INTERNAL, SECRET
        )
        with Client(server.target) as one:
            for _ in range(100):
                with contextlib.suppress(errors.ServerError):
                    ask(one)

    def another_loop() -> None:
        one = AsyncClient(server.target)
        asyncio.run(one.status())
        try:
            asyncio.run(one.status())
        finally:
            asyncio.run(one.close())

    def lie() -> None:
        server.handlers["Predict"] = lambda request, context: SECRET.encode()
        ask(client)

    def closed() -> None:
        one = Client(server.target)
        one.close()
        ask(one)

    def elsewhere(target: str, **settings: object) -> Callable[[], object]:
        def call() -> None:
            with Client(target, timeout_s=5, **settings) as one:
                ask(one)

        return call

    def missing_image() -> None:
        path = tmp_path / "hunter2 db-7.internal.png"
        path.write_bytes(b"%PDF-1.4 hunter2")
        ImageClassifier(client).predict(path)

    made: dict[str, Callable[[], object]] = {
        "RequestError": lambda: ask(client, fallback=[SECRET]),
        "TargetError": lambda: Client(SECRET),
        "InputNameError": pair(a=[1.0], hunter2=[1.0]),
        "OutputNameError": lambda: ask(client, outputs=["hunter2"]),
        "SignatureError": lambda: ask(client, signature="hunter2"),
        "DtypeError": pair(a=np.array(["hunter2"]), b=[1.0]),
        "ShapeError": pair(a=[[1.0]], b=[1.0]),
        "ValueRangeError": lambda: client.predict(
            {"x": [[[300] * 3] * 2]}, model="echo", signature="pixels"
        ),
        "EmptyBatchError": lambda: ImageClassifier(client).predict_many([]),
        "ImageError": missing_image,
        "ClosedClientError": closed,
        "WrongLoopError": another_loop,
        "AnswerError": lie,
        "HostNotFoundError": elsewhere("hunter2.invalid:8500"),
        "RefusedError": elsewhere(f"127.0.0.1:{free_port}"),
        "TlsError": elsewhere(server.target, tls=Tls()),
        "CircuitOpenError": circuit,
    }

    def of_class(name: str) -> TfsError:
        if name in IN_ANOTHER_PROCESS:
            script = TOLD + textwrap.dedent(IN_ANOTHER_PROCESS[name])
            done = subprocess.run(
                [sys.executable, "-c", script, server.target],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            found: TfsError = pickle.loads(bytes.fromhex(done.stdout.strip() or "0"))
            return found
        call = made.get(name)
        if call is None:
            code, text = CODES[name]
            server.handlers["Predict"] = lambda request, context: context.abort(
                code, text.format(SECRET)
            )
            call = lambda: ask(client)  # noqa: E731
        with pytest.raises(TfsError) as error:
            call()
        return error.value

    with Client(server.target, timeout_s=5, retry=None) as client:
        yield of_class


def classes() -> list[type[TfsError]]:
    """Every error class that the package raises; three only group others."""
    found = [one for one in vars(errors).values() if isinstance(one, type)]
    return [one for one in found if issubclass(one, TfsError) and one.__name__ not in GROUPS]


GROUPS = ("TfsError", "CallError")
"""Bases of which no error is made."""


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_an_error_has_a_code_and_a_sentence_for_callers_of_a_service(kind, caught, server):
    error = caught(kind.__name__)
    assert type(error) is kind
    assert 400 <= error.http_status < 600
    assert re.fullmatch(r"[A-Z][A-Za-z0-9 ,:;'()-]+\.", error.public), error.public
    for secret in ("hunter2", "srv", "internal", server.target, "127.0.0.1", "localhost", "echo"):
        assert secret not in error.public
    port = server.target.rpartition(":")[2]
    assert port not in error.public
    # The error's own text has it: the sentence for callers is another one.
    assert error.public not in str(error)
    # The code and the sentence cross processes with the error.
    again = pickle.loads(pickle.dumps(error))
    assert (again.http_status, again.public) == (error.http_status, error.public)


def test_the_page_has_every_code_and_sentence():
    text = README.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+ \| .*?) *\|$", text, re.MULTILINE))
    assert rows == {one.__name__: f"{one.http_status} | {one.public}" for one in classes()}


def test_only_what_another_request_could_mend_is_the_callers_fault():
    blamed = {one.__name__ for one in classes() if one.http_status < 500}
    assert blamed == {
        *("RequestError", "InputNameError", "OutputNameError", "SignatureError", "DtypeError"),
        *("ShapeError", "ValueRangeError", "EmptyBatchError", "ImageError"),
        *("InvalidRequestError", "MessageTooLargeError"),
    }


def test_a_picture_that_cannot_be_sent_is_told_in_its_own_words(tmp_path, as_file, picture):
    jpeg = as_file(kind="JPEG")
    exif = picture.getexif()
    exif[0x0112] = 6
    turned = as_file(kind="JPEG", exif=exif)
    path = tmp_path / "hunter2.png"
    path.write_bytes(as_file())
    said = {
        "empty": (Guards(), b""),
        "not a picture": (Guards(), b"<html>hunter2"),
        "cut off": (Guards(), jpeg[:30]),
        "large file": (Guards(max_file_bytes=100), path),
        "many pixels": (Guards(max_pixels=100), path),
        "turned": (Guards(orientation="refuse"), turned),
        "no upright array": (Guards(max_pixels=100), picture),
    }
    public = {}
    for name, (guards, source) in said.items():
        problem = guards.prepare(source).problem
        assert isinstance(problem, ImageError), name
        public[name] = problem.public
        assert "hunter2" not in problem.public
    assert public == {
        "empty": "The picture's file is empty.",
        "not a picture": "Not a picture of a format that is taken: JPEG, PNG, GIF or BMP.",
        "cut off": "The picture's file is broken or incomplete: save or send it again.",
        "large file": "The picture is too large: send a smaller one.",
        "many pixels": "The picture is too large: send a smaller one.",
        "turned": "The picture does not stand upright as it is stored: turn it and save it again.",
        "no upright array": "The picture is too large: send a smaller one.",
    }


def test_every_public_error_class_is_known_here():
    public = {name for name in tfs_client.__all__ if name.endswith("Error")}
    assert public == {one.__name__ for one in classes()} | set(GROUPS)


def test_what_pillow_cannot_decode_is_told_too(as_file):
    with pytest.raises(ImageError) as error:
        tfs_client.image_to_array(io.BytesIO(as_file()[:5000]), (64, 64))
    assert error.value.public.startswith("The picture's file is broken")
