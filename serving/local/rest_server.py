"""TensorFlow Serving's REST API in front of the core.

Only translates: paths and JSON to what the core speaks, errors to the status of their code.
"""

from __future__ import annotations

import logging
import re
from typing import Any, Final

from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from serving.local import (
    classification,
    json_examples,
    json_outputs,
    json_tensors,
    json_text,
    messages,
    prediction,
    regression,
)
from serving.local.core import ModelSpec, ServerCore
from serving.local.errors import HTTP_STATUS, ServingError, refuse
from serving.local.http_server import HttpRequest, HttpResponse
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

_NO_PAGE: Final = HttpResponse(
    404,
    "text/html",
    b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n"
    b"<H1>Not Found</H1>\n</BODY></HTML>\n",
)


class RestApi:
    """Answers HTTP requests; give it to an HttpServer."""

    def __init__(self, core: ServerCore) -> None:
        """Args:
        core: answers.
        """
        self._core = core

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answers one request; never raises."""
        if not request.path.lower().startswith("/v1/"):
            return _NO_PAGE
        try:
            return _json(200, self._answer(request))
        except ServingError as error:
            text = json_text.dumps({"error": error.text})
            return _json(HTTP_STATUS.get(error.code, 500), text)
        except Exception as error:
            _log.exception("a request failed inside the server")
            return _json(500, json_text.dumps({"error": f"{type(error).__name__}: {error}"}))

    def _answer(self, request: HttpRequest) -> str:
        if request.method == "POST" and (found := _CALL.fullmatch(request.path)):
            name, version, label, method = found.groups()
            spec = _spec(name, version, label)
            # The path may be in any case, the method's name may not.
            match method:
                case "classify":
                    return self._classify(spec, request.body)
                case "regress":
                    return self._regress(spec, request.body)
                case "predict":
                    return self._predict(spec, request.body)
        if request.method == "GET" and (found := _READ.fullmatch(request.path)):
            name, version, label, metadata = found.groups()
            if name is None:
                refuse("Missing model name in request.")
            spec = _spec(name, version, label)
            return self._metadata(spec) if metadata else self._status(spec)
        refuse(f"Malformed request: {request.method} {request.path}")

    def _predict(self, spec: ModelSpec, body: bytes) -> str:
        document = json_text.loads(body)
        name = json_tensors.signature_name(document) or DEFAULT_SIGNATURE
        with self._core.handle(spec) as handle:
            signature = handle.loaded.signatures.get(name)
            if signature is None:
                refuse(f'Serving signature name: "{name}" not found in signature def')
            sent = json_tensors.parse_inputs(document, signature)
            found = prediction.predict(
                handle.loaded,
                name,
                sent.inputs,
                lambda array: array,
                self._core.inference,
            )
        return json_outputs.render_outputs(found, sent.by_row)

    def _classify(self, spec: ModelSpec, body: bytes) -> str:
        document = json_text.loads(body)
        name = json_tensors.signature_name(document)
        sent = json_examples.parse_examples(document)
        with self._core.handle(spec) as handle:
            found = classification.classify(handle.loaded, name, sent, self._core.inference)
        return json_outputs.render_classes(found)

    def _regress(self, spec: ModelSpec, body: bytes) -> str:
        document = json_text.loads(body)
        name = json_tensors.signature_name(document)
        sent = json_examples.parse_examples(document)
        with self._core.handle(spec) as handle:
            found = regression.regress(handle.loaded, name, sent, self._core.inference)
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


def _spec(name: str, version: str | None, label: str | None) -> ModelSpec:
    if version is None:
        return ModelSpec(name, label=label)
    if int(version) >= 2**63:
        refuse(f"Failed to convert version: {version} to numeric.")
    return ModelSpec(name, version=int(version))


def _message(message: Any) -> str:
    return json_format.MessageToJson(
        message,
        always_print_fields_with_no_presence=True,
        preserving_proto_field_name=True,
        indent=1,
        ensure_ascii=False,
    )


def _json(status: int, text: str) -> HttpResponse:
    return HttpResponse(status, "application/json", text.encode("utf-8", "surrogateescape"))
