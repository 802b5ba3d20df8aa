"""Asks over TensorFlow Serving's REST API: the same requests as over gRPC, as JSON.

Blocking, over http.client with a connection that is kept; under Locust gevent lets other users run
meanwhile. A REST answer does not name the version.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import math
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

import grpc
import numpy as np

from loadtest.traffic.workload import Request
from tfs_client import CallError, contract
from tfs_client.answers import Metadata, Signature, TensorSpec
from tfs_client.errors import AnswerError, TargetError
from tfs_client.protocol import dtype_name, from_code, messages as pb

CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.ABORTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""HTTP status → gRPC code. 400 and 500 stand for three codes each, of which this is one."""

Rows = dict[tuple[str, str], str]
"""Signature and shape, picture → its JSON. A workload has at most 256 pictures of each kind."""


class RestAnswer:
    """One answer: outputs by name, as tfs_client's Prediction has them."""

    version: int | None = None
    """REST does not tell."""

    def __init__(self, outputs: Mapping[str, Any]):
        self._outputs = outputs

    def __getitem__(self, name: str) -> Any:
        return self._outputs[name]


class RestClient:
    """A connection to one server, for one thread (or greenlet); a context manager.

    Args:
        target: host:port of the REST port, or http://host:port.
        model: the servable's name.
        timeout_s: of connecting and of each answer.
        rows: the pictures that were encoded so far. The clients of one process and one workload
            share them, because the JSON of a picture's pixels takes several times their size.

    Raises:
        TargetError: the target is no host:port.
    """

    def __init__(self, target: str, model: str, timeout_s: float, rows: Rows | None = None):
        parts = urlsplit(target if "://" in target else f"http://{target}")
        try:
            port = parts.port
        except ValueError:
            port = None
        if parts.scheme != "http" or not parts.hostname or not port or parts.path not in ("", "/"):
            raise TargetError(
                "Expected the REST port as host:port (TensorFlow Serving's REST speaks no TLS). "
                f"Received: {target!r}"
            )
        self._target, self._timeout_s = f"{parts.hostname}:{port}", timeout_s
        self._path = f"/v1/models/{quote(model, safe='')}"
        self._model = model
        self._connection = http.client.HTTPConnection(parts.hostname, port, timeout=timeout_s)
        self._encoded: Rows = {} if rows is None else rows

    def __enter__(self) -> RestClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()

    def metadata(self, *, model: str | None = None, label: str) -> Metadata:
        """Asks for the signatures of the label's version.

        Raises:
            CallError: no server, no such label.
            AnswerError: what answers is no such server.
        """
        path = f"{self._path}/labels/{quote(label, safe='')}/metadata"
        found = self._exchange("GET", path, None, "GetModelMetadata")
        try:
            signatures = found["metadata"]["signature_def"]["signature_def"]
            return Metadata(
                model=model or self._model,
                version=int(found["model_spec"]["version"]),
                signatures={
                    name: Signature(
                        name=name,
                        method=one["method_name"],
                        inputs={alias: _spec(spec) for alias, spec in one["inputs"].items()},
                        outputs={alias: _spec(spec) for alias, spec in one["outputs"].items()},
                    )
                    for name, one in signatures.items()
                    if one["inputs"]
                },
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise AnswerError(
                f"Expected a model's metadata from http://{self._target}{path}. "
                f"Received: {json.dumps(found)[:200]}"
            ) from error

    def body(self, request: Request) -> bytes:
        """A request as JSON, to be made before the clock starts. Each picture is encoded once."""
        rows = ",".join(self._rows(request))
        return f'{{"signature_name":"{request.signature}","instances":[{rows}]}}'.encode()

    def predict(self, request: Request, body: bytes | None = None) -> RestAnswer:
        """Sends a request of the workload.

        Args:
            request: what is sent.
            body: the request as JSON; None: it is made now.

        Raises:
            CallError: the call failed; with the gRPC code that the HTTP status stands for.
            AnswerError: what was answered is no prediction.
        """
        path = f"{self._path}/labels/{quote(request.label, safe='')}:predict"
        sent = self.body(request) if body is None else body
        found = self._exchange("POST", path, sent, "Predict")
        try:
            rows_found = found["predictions"]
            return RestAnswer(
                {
                    name: np.array([_plain(name, row[name]) for row in rows_found])
                    for name in contract.DECISION_OUTPUTS
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise AnswerError(
                f"Expected predictions with {', '.join(contract.DECISION_OUTPUTS)}. "
                f"Received: {json.dumps(found)[:200]}"
            ) from error

    def _rows(self, request: Request) -> list[str]:
        """Each picture as JSON; encoded once."""
        (name,) = request.inputs
        rows = []
        for picture, value in zip(request.pictures, request.inputs[name]):
            key = (f"{request.signature}/{np.shape(value)}", picture)
            row = self._encoded.get(key)
            if row is None:
                if isinstance(value, bytes):
                    coded: Any = {"b64": base64.b64encode(value).decode()}
                else:
                    coded = value.tolist()
                row = self._encoded[key] = json.dumps({name: coded})
            rows.append(row)
        return rows

    def _exchange(self, verb: str, path: str, body: bytes | None, call: str) -> Any:
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            # A connection that the server closed between two requests is no failure of this one.
            for fresh in (self._connection.sock is None, True):
                try:
                    self._connection.request(verb, path, body, headers)
                    response = self._connection.getresponse()
                    break
                except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                    self._connection.close()
                    if fresh:
                        raise
            text = response.read()
        except TimeoutError as error:
            self._connection.close()
            raise self._failed("DEADLINE_EXCEEDED", str(error), call) from error
        except http.client.BadStatusLine as error:
            self._connection.close()
            words = "what answers speaks no HTTP; is this the gRPC port?"
            raise self._failed("UNAVAILABLE", words, call) from error
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise self._failed("UNAVAILABLE", str(error) or repr(error), call) from error
        content: Any = None
        with contextlib.suppress(ValueError):
            content = json.loads(text)
        if response.status != http.HTTPStatus.OK:
            said = content.get("error") if isinstance(content, dict) else None
            code = CODES.get(response.status, grpc.StatusCode.UNKNOWN)
            raise self._failed(code.name, said or f"HTTP {response.status}", call)
        return content

    def _failed(self, code: str, words: str, call: str) -> CallError:
        return from_code(
            grpc.StatusCode[code],
            words,
            target=f"http://{self._target}",
            call=call,
            timeout_s=self._timeout_s,
        )


def _spec(content: Mapping[str, Any]) -> TensorSpec:
    shape = content["tensor_shape"]
    sizes: tuple[int | None, ...] | None = None
    if not shape.get("unknown_rank"):
        found = (int(dim["size"]) for dim in shape.get("dim", ()))
        sizes = tuple(None if size < 0 else size for size in found)
    return TensorSpec(dtype=dtype_name(pb.DataType.Value(content["dtype"])), shape=sizes)


def _plain(name: str, value: Any) -> Any:
    """A value as gRPC has it: labels are bytes, a missing probability is NaN."""
    if name == contract.OUTPUT_LABEL:
        return str(value).encode()
    return math.nan if value is None else value
