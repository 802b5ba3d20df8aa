"""TensorFlow Serving's REST API: paths and JSON in, the core's answers as JSON out."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from google.protobuf import json_format
from grpc import StatusCode
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from serving.local import caller, metrics
from serving.local.apis import classification, messages, prediction, regression
from serving.local.apis.measured_model import MeasuredModel
from serving.local.apis.prediction import PredictCall
from serving.local.core import ModelSpec, ServerCore
from serving.local.dtypes import DT_DOUBLE
from serving.local.errors import HTTP_STATUS, ServingError, refuse
from serving.local.rest import json_examples, json_outputs, json_tensors, json_text
from serving.local.rest.http import HttpRequest, HttpResponse
from serving.local.signature import DEFAULT_SIGNATURE

_log = logging.getLogger(__name__)

_CALL: Final = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:(classify|regress|predict)",
    re.IGNORECASE | re.ASCII,
)
_READ: Final = re.compile(
    r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?(?:/(metadata))?",
    re.IGNORECASE | re.ASCII,
)
_MOST_DIGITS: Final = len(str(2**63))
"""Of a version. Python reads no number of thousands of digits."""

_ORIGIN: Final = re.compile("https?://")

_TARGET: Final = re.compile(
    r"/(?:[\w.~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*"
    r"(?:\?(?:[\w.~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"
    r"(?:#(?:[\w.~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?",
    re.ASCII,
)
"""What libevent, TensorFlow Serving's HTTP server, takes for a path, a query and a fragment."""


def _page(status: int, phrase: str) -> HttpResponse:
    """The page that libevent answers an error with."""
    title = f"<HTML><HEAD>\n<TITLE>{status} {phrase}</TITLE>\n</HEAD>"
    text = f"{title}<BODY>\n<H1>{phrase}</H1>\n</BODY></HTML>\n"
    return HttpResponse(status, "text/html", text.encode())


_NO_PAGE: Final = _page(404, "Not Found")
_BAD_TARGET: Final = _page(400, "Bad Request")

_CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}


@dataclass(frozen=True)
class _Path:
    """What a request's path names. A query is a part of the path, as in TensorFlow Serving."""

    name: str = ""
    version: str = ""
    label: str = ""
    what: str = ""
    """predict, classify or regress, metadata or nothing, as it was written."""
    known: bool = False
    """It is a path of this API with a method that goes with it."""


class RestApi:
    """TensorFlow Serving's REST API and its metrics page; an `http.Application`.

    Args:
        core: answers.
        cors: lets web pages of any origin call.
        metrics_path: where the metrics lie; nowhere if empty.
    """

    def __init__(self, core: ServerCore, *, cors: bool = False, metrics_path: str = "") -> None:
        self._core = core
        self._headers = dict(_CORS) if cors else {}
        self._metrics_path = metrics_path

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Answers one request; never raises."""
        if not _TARGET.fullmatch(request.target):
            return _BAD_TARGET
        if self._metrics_path and request.target.partition("?")[0] == self._metrics_path:
            return self._metrics(request.target)
        if not request.target.lower().startswith("/v1/"):
            return _NO_PAGE
        if request.method == "OPTIONS":
            return self._preflight(request)
        started = time.perf_counter()
        path = _path(request)
        with caller.waiting(request.waits):
            code, text = self._outcome(request, path)
        if not request.expired():  # else it has been refused, and counted there
            took = time.perf_counter() - started
            self._count(path.name, code, path.what if request.method == "POST" else "", took)
        return self._json(code, text)

    def refuse(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        """Answers a request that `answer` cannot or could not answer."""
        if error.code is StatusCode.DEADLINE_EXCEEDED:
            self._count(_path(request).name, error.code)
        return self._json(error.code, json_text.dumps({"error": error.rest_text}))

    def _outcome(self, request: HttpRequest, path: _Path) -> tuple[StatusCode, str]:
        """The code and the body; never raises."""
        try:
            return StatusCode.OK, self._answer(request, path)
        except ServingError as error:
            return error.code, json_text.dumps({"error": error.rest_text})
        except _NotSaidError as error:
            return error.code, ""
        except Exception as error:
            _log.exception("a request failed inside the server")
            text = json_text.dumps({"error": f"{type(error).__name__}: {error}"})
            return StatusCode.INTERNAL, text

    def _json(self, code: StatusCode, text: str) -> HttpResponse:
        body = text.encode("utf-8", "surrogateescape")
        return HttpResponse(HTTP_STATUS.get(code, 500), "application/json", body, self._headers)

    def _preflight(self, request: HttpRequest) -> HttpResponse:
        """Answers the question a browser asks before it lets a page call; without a body."""
        found = _ORIGIN.search(request.origin)
        code = StatusCode.OK if found else StatusCode.FAILED_PRECONDITION
        self._count("", code)
        return HttpResponse(HTTP_STATUS[code], "", b"", self._headers)

    def _count(self, name: str, code: StatusCode, api: str = "", took_s: float = 0.0) -> None:
        if code is StatusCode.OK:
            metrics.REQUEST_LATENCY.observe(1e6 * took_s, name, api, "REST")
        metrics.count_request(name, code.name, known=self._core.knows(name))

    def _metrics(self, target: str) -> HttpResponse:
        if target != self._metrics_path:
            text = f"Unexpected path: {target}. Should be {self._metrics_path}"
            return HttpResponse(400, metrics.CONTENT_TYPE, text.encode("utf-8", "replace"))
        return HttpResponse(200, metrics.CONTENT_TYPE, metrics.page().encode("utf-8", "replace"))

    def _answer(self, request: HttpRequest, path: _Path) -> str:
        if not path.known:
            refuse(f"Malformed request: {request.method} {request.target}")
        spec = _spec(path)
        if request.method == "GET":
            if not path.name:
                refuse("Missing model name in request.")
            # The path may be in any case, these names may not.
            return self._metadata(spec) if path.what == "metadata" else self._status(spec)
        match path.what:
            case "predict":
                return self._predict(spec, request.body)
            case "classify":
                return self._classify(spec, request.body)
            case "regress":
                return self._regress(spec, request.body)
        refuse(f"Malformed request: {request.method} {request.target}")

    def _predict(self, spec: ModelSpec, body: bytes) -> str:
        document = json_text.loads(body)
        name = json_tensors.signature_name(document) or DEFAULT_SIGNATURE
        with self._core.handle(spec) as handle:
            signature = handle.loaded.signatures.get(name)
            if signature is None:
                refuse(f'Serving signature name: "{name}" not found in signature def')
            if any(spec.dtype == DT_DOUBLE for spec in signature.inputs.values()):
                document = json_text.loads(body, doubles=True)
            sent = json_tensors.parse_inputs(document, signature)
            found = prediction.predict(
                MeasuredModel(handle.loaded, spec.name, "Predict"),
                PredictCall(name, sent.inputs, decode=lambda array: array),
                self._core.inference,
            )
        return json_outputs.render_outputs(found, sent.by_row)

    def _classify(self, spec: ModelSpec, body: bytes) -> str:
        document = json_text.loads(body)
        name = json_tensors.signature_name(document)
        sent = json_examples.parse_examples(document)
        with self._core.handle(spec) as handle:
            model = MeasuredModel(handle.loaded, spec.name, "Classify")
            found = classification.classify(model, name, sent, self._core.inference)
        return json_outputs.render_classes(found)

    def _regress(self, spec: ModelSpec, body: bytes) -> str:
        document = json_text.loads(body)
        name = json_tensors.signature_name(document)
        sent = json_examples.parse_examples(document)
        with self._core.handle(spec) as handle:
            model = MeasuredModel(handle.loaded, spec.name, "Regress")
            found = regression.regress(model, name, sent, self._core.inference)
        return json_outputs.render_values(found)

    def _status(self, spec: ModelSpec) -> str:
        response = get_model_status_pb2.GetModelStatusResponse()
        messages.fill_status(response, self._core.statuses(spec))
        return _message(response) + "\n"

    def _metadata(self, spec: ModelSpec) -> str:
        version, signatures = self._core.metadata(spec)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = version
        found = messages.signature_map(signatures)
        return (
            f'{{\n"model_spec":{_message(response.model_spec)}\n,\n'
            f'"metadata": {{"signature_def": {_message(found)}\n}}\n}}\n'
        )


class _NotSaidError(Exception):
    """A refusal that TensorFlow Serving sends without a text."""

    code = StatusCode.INVALID_ARGUMENT


def _path(request: HttpRequest) -> _Path:
    pattern = {"POST": _CALL, "GET": _READ}.get(request.method)
    found = pattern.fullmatch(request.target) if pattern else None
    if found is None:
        return _Path()
    name, version, label, what = (part or "" for part in found.groups())
    return _Path(_decoded(name), version, _decoded(label), what, known=True)


def _decoded(text: str) -> str:
    return unquote(text, errors="surrogateescape") if "%" in text else text


def _spec(path: _Path) -> ModelSpec:
    digits = path.version.lstrip("0")
    if len(digits) > _MOST_DIGITS or int(digits or "0") >= 2**63:
        raise _NotSaidError
    version = int(digits or "0") if path.version else None
    return ModelSpec(path.name, version=version, label=path.label or None)


def _message(message: Any) -> str:
    return json_format.MessageToJson(
        message,
        always_print_fields_with_no_presence=True,
        preserving_proto_field_name=True,
        indent=1,
        ensure_ascii=False,
    )
