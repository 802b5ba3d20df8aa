"""TensorFlow Serving's seven gRPC methods: each takes the core and a request, and answers it.

All of them raise ServingError. How a call arrives, is counted and is refused stands in `server`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
)

from serving import models_config
from serving.local.apis import messages
from serving.local.core import ModelSpec, ServerCore
from serving.local.errors import invalid_argument, refuse
from serving.local.inference import InferenceOptions
from serving.local.signature import ServableModel
from serving.models_config import ConfigError
from tfs_client.protocol import messages as serving_pb2


def predict(core: ServerCore, request: Any) -> Any:
    """PredictRequest → PredictResponse."""
    return _run(core, _named(request), request, messages.predict)


def classify(core: ServerCore, request: Any) -> Any:
    """ClassificationRequest → ClassificationResponse."""
    return _run(core, _named(request), request, messages.classify)


def regress(core: ServerCore, request: Any) -> Any:
    """RegressionRequest → RegressionResponse."""
    return _run(core, _named(request), request, messages.regress)


def multi_inference(core: ServerCore, request: Any) -> Any:
    """MultiInferenceRequest → MultiInferenceResponse.

    The first task says which version answers; of the others only the model's name is compared.
    """
    first = request.tasks[0] if request.tasks else inference_pb2.InferenceTask()
    return _run(core, _spec(first.model_spec), request, messages.multi_inference)


def metadata(core: ServerCore, request: Any) -> Any:
    """GetModelMetadataRequest → GetModelMetadataResponse."""
    spec = _named(request)
    if not request.metadata_field:
        refuse("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != "signature_def":
            refuse(f"Metadata field {field} is not supported")
    version, signatures = core.metadata(spec)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = spec.name
    response.model_spec.version.value = version
    response.metadata["signature_def"].Pack(messages.signature_map(signatures))
    return response


def status(core: ServerCore, request: Any) -> Any:
    """GetModelStatusRequest → GetModelStatusResponse."""
    response = get_model_status_pb2.GetModelStatusResponse()
    messages.fill_status(response, core.statuses(_named(request)))
    return response


def reload(core: ServerCore, request: Any) -> Any:
    """ReloadConfigRequest → ReloadConfigResponse."""
    if request.config.WhichOneof("config") != "model_config_list":
        refuse(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
            "ModelConfigList is currently supported"
        )
    # The same message under another package name: only the bytes can go from one to the other.
    message = serving_pb2.ModelServerConfig.FromString(request.config.SerializeToString())
    try:
        config = models_config.from_message(message)
    except ConfigError as error:
        raise invalid_argument(error.served_text) from error
    core.reload(config)
    response = model_management_pb2.ReloadConfigResponse()
    response.status.SetInParent()
    for name in dict.fromkeys(request.metric_names):
        # TensorFlow Serving tells how much its C++ metrics grew; this server has none of them.
        response.metric.add(name=name, int64_value_increase=0)
    return response


def _run(
    core: ServerCore,
    spec: ModelSpec,
    request: Any,
    api: Callable[[ServableModel, int, Any, InferenceOptions], Any],
) -> Any:
    with core.handle(spec) as handle:
        return api(handle.loaded, handle.version, request, core.inference)


def _named(request: Any) -> ModelSpec:
    """The request's ModelSpec.

    Raises:
        ServingError: INVALID_ARGUMENT, it has none.
    """
    if not request.HasField("model_spec"):
        refuse("Missing ModelSpec")
    return _spec(request.model_spec)


def _spec(spec: Any) -> ModelSpec:
    match spec.WhichOneof("version_choice"):
        case "version":
            return ModelSpec(spec.name, version=spec.version.value)
        case "version_label":
            return ModelSpec(spec.name, label=spec.version_label)
        case _:
            return ModelSpec(spec.name)
