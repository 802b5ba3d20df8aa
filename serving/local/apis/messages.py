"""TensorFlow Serving's messages ↔ what the core speaks.

Shared by the gRPC translator and by warm-up, which replays recorded messages. Knows nothing about
channels, threads or status codes on the wire.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import NDArray
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from serving import models_config
from serving.local.apis import (
    classification,
    multi_inference as multi_inference_module,
    prediction,
    regression,
    tensor_proto,
)
from serving.local.apis.classification import Classes
from serving.local.apis.measured_model import MeasuredModel
from serving.local.apis.multi_inference import Task
from serving.local.core import ModelSpec, ServerCore
from serving.local.errors import invalid_argument, refuse
from serving.local.inference import InferenceOptions
from serving.local.signature import DEFAULT_SIGNATURE, ServableModel, Signature, dtype_of
from serving.local.versions.states import VersionStatus
from serving.models_config import ConfigError
from tfs_client.protocol import messages as serving_pb2


def model_spec(request: Any) -> ModelSpec:
    """The request's ModelSpec.

    Raises:
        ServingError: INVALID_ARGUMENT, it has none.
    """
    if not request.HasField("model_spec"):
        refuse("Missing ModelSpec")
    return spec_of(request.model_spec)


def spec_of(spec: Any) -> ModelSpec:
    """A ModelSpec message as the core takes it."""
    match spec.WhichOneof("version_choice"):
        case "version":
            return ModelSpec(spec.name, version=spec.version.value)
        case "version_label":
            return ModelSpec(spec.name, label=spec.version_label)
        case _:
            return ModelSpec(spec.name)


def predict(core: ServerCore, request: Any) -> Any:
    """PredictRequest → PredictResponse; raises ServingError."""
    with core.handle(model_spec(request)) as handle:
        return run_predict(handle.loaded, handle.version, request, core.inference)


def run_predict(model: ServableModel, version: int, request: Any, options: InferenceOptions) -> Any:
    """Answers a PredictRequest from one version."""
    found = prediction.predict(
        MeasuredModel(model, request.model_spec.name, "Predict"),
        request.model_spec.signature_name,
        request.inputs,
        tensor_proto.decode,
        options,
        request.output_filter,
    )
    response = predict_pb2.PredictResponse()
    _fill_spec(response.model_spec, request.model_spec, version)
    encode = (
        tensor_proto.encode_content if options.outputs_as_tensor_content else tensor_proto.encode
    )
    outputs = response.outputs
    for alias, array in found.outputs.items():
        encode(array, dtype_of(array, found.signature.outputs[alias].dtype), outputs[alias])
    return response


def classify(core: ServerCore, request: Any) -> Any:
    """ClassificationRequest → ClassificationResponse; raises ServingError."""
    with core.handle(model_spec(request)) as handle:
        return run_classify(handle.loaded, handle.version, request, core.inference)


def run_classify(
    model: ServableModel, version: int, request: Any, options: InferenceOptions
) -> Any:
    """Answers a ClassificationRequest from one version."""
    name = request.model_spec.signature_name
    measured = MeasuredModel(model, request.model_spec.name, "Classify")
    found = classification.classify(measured, name, serialized_examples(request.input), options)
    response = classification_pb2.ClassificationResponse()
    _fill_spec(response.model_spec, request.model_spec, version)
    _fill_classes(response.result, found)
    return response


def regress(core: ServerCore, request: Any) -> Any:
    """RegressionRequest → RegressionResponse; raises ServingError."""
    with core.handle(model_spec(request)) as handle:
        return run_regress(handle.loaded, handle.version, request, core.inference)


def run_regress(model: ServableModel, version: int, request: Any, options: InferenceOptions) -> Any:
    """Answers a RegressionRequest from one version."""
    name = request.model_spec.signature_name
    measured = MeasuredModel(model, request.model_spec.name, "Regress")
    found = regression.regress(measured, name, serialized_examples(request.input), options)
    response = regression_pb2.RegressionResponse()
    _fill_spec(response.model_spec, request.model_spec, version)
    _fill_values(response.result, found)
    return response


def multi_inference(core: ServerCore, request: Any) -> Any:
    """MultiInferenceRequest → MultiInferenceResponse; raises ServingError.

    The first task says which version answers; of the others only the model's name is compared.
    """
    first = request.tasks[0] if request.tasks else inference_pb2.InferenceTask()
    with core.handle(spec_of(first.model_spec)) as handle:
        return run_multi_inference(handle.loaded, handle.version, request, core.inference)


def run_multi_inference(
    model: ServableModel, version: int, request: Any, options: InferenceOptions
) -> Any:
    """Answers a MultiInferenceRequest from one version."""
    tasks = [
        Task(task.model_spec.name, task.model_spec.signature_name, task.method_name)
        for task in request.tasks
    ]
    name = tasks[0].model_name if tasks else ""
    answers = multi_inference_module.multi_inference(
        MeasuredModel(model, name, "MultiInference"),
        tasks,
        serialized_examples(request.input),
        options,
    )
    response = inference_pb2.MultiInferenceResponse()
    for task, found in zip(request.tasks, answers):
        result = response.results.add()
        _fill_spec(result.model_spec, task.model_spec, version)
        if isinstance(found, Classes):
            _fill_classes(result.classification_result, found)
        else:
            _fill_values(result.regression_result, found)
    return response


def serialized_examples(sent: Any) -> list[bytes]:
    """An Input message's examples, each with the context that all of them share."""
    match sent.WhichOneof("kind"):
        case "example_list":
            return [example.SerializeToString() for example in sent.example_list.examples]
        case "example_list_with_context":
            # Messages that follow each other are one message: features of both, the example's win.
            context = sent.example_list_with_context.context.SerializeToString()
            examples = sent.example_list_with_context.examples
            return [context + example.SerializeToString() for example in examples]
        case _:
            return []


def metadata(core: ServerCore, request: Any) -> Any:
    """GetModelMetadataRequest → GetModelMetadataResponse; raises ServingError."""
    spec = model_spec(request)
    if not request.metadata_field:
        refuse("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != "signature_def":
            refuse(f"Metadata field {field} is not supported")
    version, signatures = core.metadata(spec)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = spec.name
    response.model_spec.version.value = version
    response.metadata["signature_def"].Pack(signature_map(signatures))
    return response


def signature_map(signatures: Mapping[str, Signature]) -> Any:
    """Signatures → SignatureDefMap."""
    found = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in signatures.items():
        found.signature_def[name].CopyFrom(signature.message)
    return found


def status(core: ServerCore, request: Any) -> Any:
    """GetModelStatusRequest → GetModelStatusResponse; raises ServingError."""
    response = get_model_status_pb2.GetModelStatusResponse()
    fill_status(response, core.statuses(model_spec(request)))
    return response


def fill_status(response: Any, statuses: Iterable[VersionStatus]) -> None:
    """Fills a GetModelStatusResponse."""
    for found in statuses:
        row = response.model_version_status.add(version=found.version, state=int(found.state))
        row.status.SetInParent()
        if found.error is not None:
            row.status.error_code = found.error.code.value[0]
            row.status.error_message = found.error.text


def reload(core: ServerCore, request: Any) -> Any:
    """ReloadConfigRequest → ReloadConfigResponse; raises ServingError."""
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
        # TensorFlow Serving counts in C++ what a reload increases; nothing here bears those names.
        response.metric.add(name=name, int64_value_increase=0)
    return response


def _fill_spec(spec: Any, asked: Any, version: int) -> None:
    spec.name = asked.name
    spec.signature_name = asked.signature_name or DEFAULT_SIGNATURE
    spec.version.value = version


def _fill_classes(result: Any, found: Classes) -> None:
    for row in found.rows():
        classes = result.classifications.add().classes
        for label, score in row:
            classes.add(label=label.decode("utf-8", "replace"), score=score)


def _fill_values(result: Any, found: NDArray[Any]) -> None:
    for value in found.tolist():
        result.regressions.add(value=value)
