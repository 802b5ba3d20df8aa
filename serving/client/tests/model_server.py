"""A small real gRPC server that speaks the wire messages: the contract's classifier, and an echo.

Where the tests look, it answers as TensorFlow Serving does. To make it misbehave, put a function
into `answers` under a call's name. It runs no graph: an image is valid if Pillow can open it, and
its probability is a tenth of the version's number.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
import numpy as np
from PIL import Image, UnidentifiedImageError

from tfs_client import contract
from tfs_client.call.channel import METHODS
from tfs_client.wire import serving_pb2 as pb, tensors

REQUESTS = {
    "Predict": pb.PredictRequest,
    "Classify": pb.ClassificationRequest,
    "Regress": pb.RegressionRequest,
    "GetModelMetadata": pb.GetModelMetadataRequest,
    "GetModelStatus": pb.GetModelStatusRequest,
    "HandleReloadConfigRequest": pb.ReloadConfigRequest,
}

ECHOES = {
    "serving_default": {"x": (pb.DT_FLOAT, None)},
    "echoing": {"x": (pb.DT_FLOAT, None), "words": (pb.DT_STRING, None)},
    "pair": {"a": (pb.DT_FLOAT, [-1]), "b": (pb.DT_FLOAT, [-1])},
    "pixels": {"x": (pb.DT_UINT8, [-1, 2, 3])},
    "bytes": {"x": (pb.DT_UINT8, None)},
    "constant": {},
}
"""The signatures of the model echo: input (and output) to dtype and shape (None: any rank)."""

Answer = Callable[[Any, grpc.ServicerContext], Any]


class ModelServer:
    """Serves on a free port of the loopback from construction until stop().

    Attributes:
        sizes: version -> (height, width) that its predict_images takes; also: what is loaded.
        labels: label -> version.
        answers: call -> function(request, context) in place of the usual answer.
        requests: (call, request) in order of arrival.
        metadata: gRPC metadata of each request, in the same order.

    Args:
        port: where to serve; 0 means a free one.
        host: the address to serve on.
        credentials: for TLS.
    """

    def __init__(
        self,
        port: int = 0,
        host: str = "127.0.0.1",
        credentials: grpc.ServerCredentials | None = None,
    ):
        self.sizes = {1: (64, 64), 2: (48, 32)}
        self.labels = {"stable": 1, "canary": 2}
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, Any]] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self._server = grpc.server(
            futures.ThreadPoolExecutor(16),
            # As TensorFlow Serving: requests of up to 2 GiB, and a port of its own.
            options=(("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)),
        )
        self._server.add_generic_rpc_handlers((Handlers(self),))
        if credentials is None:
            self.port = self._server.add_insecure_port(f"{host}:{port}")
        else:
            self.port = self._server.add_secure_port(f"{host}:{port}", credentials)
        self.target = f"{host}:{self.port}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def answer(self, call: str, data: bytes, context: grpc.ServicerContext) -> bytes:
        request = REQUESTS[call].FromString(data)
        self.metadata.append(dict(context.invocation_metadata()))
        self.requests.append((call, request))
        answer = self.answers.get(call, getattr(self, f"_{call}"))(request, context)
        return answer if isinstance(answer, bytes) else answer.SerializeToString()

    def asked(self, call: str) -> list[Any]:
        """The requests of one call."""
        return [request for name, request in self.requests if name == call]

    def _version(self, spec: pb.ModelSpec, context: grpc.ServicerContext) -> int:
        if spec.name not in (contract.MODEL_NAME, "echo"):
            text = f"Servable not found for request: Latest({spec.name})"
            context.abort(grpc.StatusCode.NOT_FOUND, text)
        chosen = spec.WhichOneof("version_choice")
        version = max(self.sizes, default=0)
        if chosen == "version":
            version = spec.version.value
        elif chosen == "version_label":
            if spec.version_label not in self.labels:
                text = f"Unrecognized servable version label: {spec.version_label}"
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
            version = self.labels[spec.version_label]
        if version not in self.sizes:
            text = f"Servable not found for request: Specific({spec.name}, {version})"
            context.abort(grpc.StatusCode.NOT_FOUND, text)
        return version

    def _Predict(self, request: pb.PredictRequest, context: grpc.ServicerContext) -> Any:  # noqa: N802
        version = self._version(request.model_spec, context)
        signature = request.model_spec.signature_name
        response = pb.PredictResponse(model_spec={"name": request.model_spec.name})
        response.model_spec.version.value = version
        response.model_spec.signature_name = signature
        if request.model_spec.name == "echo":
            for name in request.output_filter or request.inputs:
                response.outputs[name].CopyFrom(request.inputs[name])
            return response
        if signature == contract.SIGNATURE_DEFAULT:
            files = tensors.from_proto(request.inputs[contract.INPUT_IMAGE_BYTES])
            valid = np.array([_is_image(content) for content in files.tolist()], bool)
        elif signature == contract.SIGNATURE_IMAGES:
            images = tensors.from_proto(request.inputs[contract.INPUT_IMAGES])
            if images.shape[1:] != (*self.sizes[version], 3):
                text = f"Tensor had shape {list(images.shape)}"
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
            valid = np.ones(len(images), bool)
        else:
            text = f'Serving signature key "{signature}" not found.'
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, text)
        outputs = {
            contract.OUTPUT_PROBABILITY: np.where(valid, version / 10, np.nan).astype(np.float32),
            contract.OUTPUT_LABEL: [b"defective" if one else b"" for one in valid],
            contract.OUTPUT_NEEDS_REVIEW: ~valid,
            contract.OUTPUT_VALID: valid,
        }
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tensors.to_proto(value))
        return response

    def _Classify(self, request: pb.ClassificationRequest, context: grpc.ServicerContext) -> Any:  # noqa: N802
        version = self._version(request.model_spec, context)
        response = pb.ClassificationResponse(model_spec={"name": request.model_spec.name})
        response.model_spec.version.value = version
        for _ in request.input.example_list.examples:
            row = response.result.classifications.add()
            row.classes.add(label="sound", score=1 - version / 10)
            row.classes.add(label="defective", score=version / 10)
        return response

    def _Regress(self, request: pb.RegressionRequest, context: grpc.ServicerContext) -> Any:  # noqa: N802
        version = self._version(request.model_spec, context)
        response = pb.RegressionResponse(model_spec={"name": request.model_spec.name})
        response.model_spec.version.value = version
        for example in request.input.example_list.examples:
            value = sum(example.features.feature["x"].float_list.value)
            response.result.regressions.add(value=version * value)
        return response

    def _HandleReloadConfigRequest(  # noqa: N802
        self, request: pb.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> Any:
        (config,) = request.config.model_config_list.config
        response = pb.ReloadConfigResponse()
        for label, version in config.version_labels.items():
            if version not in self.sizes:
                response.status.error_code = 9
                response.status.error_message = f"version {version} is not available"
                return response
            self.labels[label] = version
        return response

    def _GetModelMetadata(  # noqa: N802
        self, request: pb.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> Any:
        version = self._version(request.model_spec, context)
        signatures = pb.SignatureDefMap()
        if request.model_spec.name == "echo":
            for name, tensors_of_it in ECHOES.items():
                signature = signatures.signature_def[name]
                signature.method_name = contract.METHOD_PREDICT
                for tensor, (dtype, shape) in tensors_of_it.items():
                    _write_info(signature.inputs[tensor], dtype, shape)
                    _write_info(signature.outputs[tensor], dtype, shape)
        else:
            _write_classifier(signatures, *self.sizes[version])
        # TensorFlow Serving lists the graph's initialiser too, without a method.
        init = signatures.signature_def["__saved_model_init_op"]
        init.outputs["__saved_model_init_op"].tensor_shape.unknown_rank = True
        response = pb.GetModelMetadataResponse(model_spec={"name": request.model_spec.name})
        response.model_spec.version.value = version
        packed = response.metadata["signature_def"]
        packed.type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        packed.value = signatures.SerializeToString()
        return response

    def _GetModelStatus(  # noqa: N802
        self, request: pb.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> Any:
        name = request.model_spec.name
        if name not in (contract.MODEL_NAME, "echo"):
            text = f"Could not find any versions of model {name}"
            context.abort(grpc.StatusCode.NOT_FOUND, text)
        response = pb.GetModelStatusResponse()
        for version in sorted(self.sizes, reverse=True):
            response.model_version_status.add(
                version=version, state="AVAILABLE", status={"error_code": 0}
            )
        return response


class Handlers(grpc.GenericRpcHandler):
    def __init__(self, server: ModelServer):
        self._server = server
        self._calls = {path: call for call, path in METHODS.items()}

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        call = self._calls.get(details.method)
        if call is None:
            return None
        return grpc.unary_unary_rpc_method_handler(
            lambda data, context: self._server.answer(call, data, context)
        )


def _write_classifier(signatures: pb.SignatureDefMap, height: int, width: int) -> None:
    inputs = {
        contract.SIGNATURE_IMAGES: (contract.INPUT_IMAGES, pb.DT_UINT8, [-1, height, width, 3]),
        contract.SIGNATURE_DEFAULT: (contract.INPUT_IMAGE_BYTES, pb.DT_STRING, [-1]),
    }
    outputs = {
        contract.OUTPUT_PROBABILITY: pb.DT_FLOAT,
        contract.OUTPUT_LABEL: pb.DT_STRING,
        contract.OUTPUT_NEEDS_REVIEW: pb.DT_BOOL,
        contract.OUTPUT_VALID: pb.DT_BOOL,
    }
    for name, (tensor, dtype, shape) in inputs.items():
        signature = signatures.signature_def[name]
        signature.method_name = contract.METHOD_PREDICT
        _write_info(signature.inputs[tensor], dtype, shape)
        for output, its_dtype in outputs.items():
            _write_info(signature.outputs[output], its_dtype, [-1])


def _write_info(info: pb.TensorInfo, dtype: int, shape: list[int] | None) -> None:
    info.name = "serving:0"
    info.dtype = dtype
    if shape is None:
        info.tensor_shape.unknown_rank = True
        return
    for size in shape:
        info.tensor_shape.dim.add(size=size)


def _is_image(content: bytes) -> bool:
    try:
        Image.open(io.BytesIO(content)).load()
    except (UnidentifiedImageError, OSError):
        return False
    return True
