"""Bytes that are no message, messages that are too large, and what is no HTTP.

Only codes are compared: the texts are the transports' own. That the servers live on is shown by
every case that comes after.
"""

from __future__ import annotations

from google.protobuf import text_format
from tensorflow_serving.apis import predict_pb2

from tests.conformance.ask import METHODS
from tests.conformance.case import (
    Bytes,
    Case,
    Refused,
    Rpc,
    Source,
    Statuses,
    Step,
    Subject,
    floats,
    own,
    predicted,
    recorded,
    refused,
)
from tests.conformance.setups import MAX_RECEIVED_BYTES
from tests.conformance.table.requests import AFFINE, X

NO_MESSAGE = refused("INTERNAL")
"""Both gRPC for C++ and for Python refuse so what they cannot parse."""

NONSENSE = {
    "nothing but ones": b"\xff" * 100,
    "a field of 4 GiB": b"\x0a\xff\xff\xff\xff\x0f",
    "a field that is cut off": b"\x0a\x10affine",
    "a tag of zero": b"\x00",
    "a tag that is cut off": b"\x80",
    "an end without a beginning": b"\x0c",
    "a name that is no UTF-8": b"\x0a\x04\x0a\x02\xff\xfe",
}

GOOD = text_format.Parse(AFFINE + X, predict_pb2.PredictRequest()).SerializeToString()
ANSWER = predicted("affine", 2, y=floats(4.0, 5.0))


def _nonsense() -> list[Case]:
    found = []
    for method in METHODS:
        for name, content in NONSENSE.items():
            found.append(recorded(f"{method}: {name}", Rpc(method, content), NO_MESSAGE))
    return found


CLOSED = Statuses((400, 405, 408, 411, 413, 414, 431, 501, 505, None))
"""A server may answer any of these to what is no HTTP, or close the connection."""

FOUND = Statuses((200,))

HEAD = b"POST /v1/models/affine:predict HTTP/1.1\r\nHost: localhost\r\n"

HTTP = {
    "empty lines": b"\r\n\r\n",
    "a method alone": b"GET\r\n\r\n",
    "no version": b"GET /v1/models/affine\r\n\r\n",
    "another protocol": b"GET /v1/models/affine GOPHER/1.1\r\n\r\n",
    "an unknown method": b"FETCH /v1/models/affine HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    "bytes": b"\xff" * 1000 + b"\r\n\r\n",
    "zeros": b"\x00" * 1000 + b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n",
    "a length that is no number": HEAD + b"Content-Length: many\r\n\r\n",
    "a length of 100 TB": HEAD + b"Content-Length: 99999999999999\r\n\r\n",
    "chunks of no size": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "a chunk of a negative size": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n\r\n",
    "half a body": HEAD + b'Content-Length: 100\r\n\r\n{"instances": [1.0]}',
    "half a head": HEAD,
}

ROW = b'{"instances": [1.0]}'
LENGTH = b"Content-Length: %d\r\n\r\n" % len(ROW)

FINE = {
    "1.0": b"POST /v1/models/affine:predict HTTP/1.0\r\n" + LENGTH + ROW,
    "a body in chunks": HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n5\r\n%s\r\nf\r\n%s\r\n0\r\n\r\n" % (ROW[:5], ROW[5:]),
    "a whole address for a path": HEAD.replace(b" /v1", b" http://localhost/v1") + LENGTH + ROW,
    "headers in capitals": HEAD.upper().replace(
        b"/V1/MODELS/AFFINE:PREDICT", b"/v1/models/affine:predict"
    )
    + LENGTH.upper()
    + ROW,
}
"""Odd, but HTTP."""

SUBJECT = Subject(
    "Malformed",
    (
        *_nonsense(),
        recorded("an unknown field is passed over", Rpc("Predict", GOOD + b"\x98\x06\x01"), ANSWER),
        recorded(
            "fields in another order",
            Rpc(
                "Predict",
                text_format.Parse(X, predict_pb2.PredictRequest()).SerializeToString()
                + text_format.Parse(AFFINE, predict_pb2.PredictRequest()).SerializeToString(),
            ),
            ANSWER,
        ),
        recorded(
            "a request twice in one message",
            Rpc("Predict", GOOD + GOOD),
            ANSWER,
        ),
        recorded(
            "an unknown method",
            Rpc("/tensorflow.serving.PredictionService/Nope", GOOD),
            refused("UNIMPLEMENTED"),
        ),
        recorded(
            "an unknown service",
            Rpc("/tensorflow.serving.SessionService/SessionRun", GOOD),
            refused("UNIMPLEMENTED"),
        ),
        own(
            "a message over the size limit",
            Rpc("Predict", b"\x00" * (MAX_RECEIVED_BYTES + 1)),
            Refused(("RESOURCE_EXHAUSTED",)),
            "a channel argument does not lower TensorFlow Serving's own limit of 2 GiB",
            "flags",
        ),
        *(
            Case(f"HTTP: {name}", Source.RECORDED, (Step(Bytes(content), CLOSED),))
            for name, content in HTTP.items()
        ),
        *(recorded(f"HTTP, and fine: {name}", Bytes(sent), FOUND) for name, sent in FINE.items()),
    ),
)
