"""TensorFlow Serving's request messages, answered by one loaded version.

gRPC calls it with what it has received, warm-up with what was recorded. Every function takes the
version, its number, the request and the options; it returns the response, or raises ServingError.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import NDArray
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

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
from serving.local.apis.prediction import PredictCall
from serving.local.dtypes import dtype_of
from serving.local.inference import InferenceOptions
from serving.local.signature import DEFAULT_SIGNATURE, CallableModel, Signature
from serving.local.versions.states import VersionStatus


def predict(model: CallableModel, version: int, request: Any, options: InferenceOptions) -> Any:
    """PredictRequest → PredictResponse."""
    found = prediction.predict(
        MeasuredModel(model, request.model_spec.name, "Predict"),
        PredictCall(
            request.model_spec.signature_name,
            request.inputs,
            tensor_proto.decode,
            request.output_filter,
        ),
        options,
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


def classify(model: CallableModel, version: int, request: Any, options: InferenceOptions) -> Any:
    """ClassificationRequest → ClassificationResponse."""
    name = request.model_spec.signature_name
    measured = MeasuredModel(model, request.model_spec.name, "Classify")
    found = classification.classify(measured, name, _serialized(request.input), options)
    response = classification_pb2.ClassificationResponse()
    _fill_spec(response.model_spec, request.model_spec, version)
    _fill_classes(response.result, found)
    return response


def regress(model: CallableModel, version: int, request: Any, options: InferenceOptions) -> Any:
    """RegressionRequest → RegressionResponse."""
    name = request.model_spec.signature_name
    measured = MeasuredModel(model, request.model_spec.name, "Regress")
    found = regression.regress(measured, name, _serialized(request.input), options)
    response = regression_pb2.RegressionResponse()
    _fill_spec(response.model_spec, request.model_spec, version)
    _fill_values(response.result, found)
    return response


def multi_inference(
    model: CallableModel, version: int, request: Any, options: InferenceOptions
) -> Any:
    """MultiInferenceRequest → MultiInferenceResponse."""
    tasks = [
        Task(task.model_spec.name, task.model_spec.signature_name, task.method_name)
        for task in request.tasks
    ]
    name = tasks[0].model_name if tasks else ""
    answers = multi_inference_module.multi_inference(
        MeasuredModel(model, name, "MultiInference"),
        tasks,
        _serialized(request.input),
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


def signature_map(signatures: Mapping[str, Signature]) -> Any:
    """Signatures → SignatureDefMap."""
    found = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in signatures.items():
        found.signature_def[name].CopyFrom(signature.message)
    return found


def fill_status(response: Any, statuses: Iterable[VersionStatus]) -> None:
    """Fills a GetModelStatusResponse."""
    for found in statuses:
        row = response.model_version_status.add(version=found.version, state=int(found.state))
        row.status.SetInParent()
        if found.error is not None:
            row.status.error_code = found.error.code.value[0]
            row.status.error_message = found.error.text


def _serialized(sent: Any) -> list[bytes]:
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
