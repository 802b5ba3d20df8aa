"""One request as a fake received it, in the words of the client's arguments."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from tfs_client.call.channel import METHODS
from tfs_client.errors import AnswerError
from tfs_client.wire import serving_pb2 as pb, tensors
from tfs_client.wire.messages import decode

if TYPE_CHECKING:
    from numpy.typing import NDArray

MESSAGES: Final = {
    "Predict": pb.PredictRequest,
    "Classify": pb.ClassificationRequest,
    "Regress": pb.RegressionRequest,
    "GetModelMetadata": pb.GetModelMetadataRequest,
    "GetModelStatus": pb.GetModelStatusRequest,
    "HandleReloadConfigRequest": pb.ReloadConfigRequest,
}
"""Short name of a method to the message that it takes."""

CALL_OF: Final = {path: call for call, path in METHODS.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """A request that a fake received."""

    call: str
    """The method's short name, such as "Predict" or "GetModelMetadata"."""
    model: str
    label: str | None
    """The version label that was asked for; None where it was not."""
    version: int | None
    """The version that was asked for by its number; None where it was not."""
    signature: str
    inputs: Mapping[str, NDArray[Any]]
    """Of Predict: read-only arrays; strings are object arrays of bytes."""
    outputs: tuple[str, ...]
    """Of Predict: the outputs wanted; empty means all."""
    examples: tuple[Mapping[str, list[Any]], ...]
    """Of Classify and Regress: the features of each example."""
    metadata: Mapping[str, str | bytes]
    """gRPC's metadata; of pairs with the same name, the last."""
    timeout_s: float | None
    """Until the caller's deadline, in seconds; None where it has none."""
    message: Any = dataclasses.field(repr=False, compare=False)
    """The message itself: one of tfs_client.protocol.messages."""
    answered_version: int = 0
    """The version that the label, or the latest, stood for when it arrived; 0 where none did."""
    problem: str = ""
    """Why the inputs cannot be read, as a server words it; else empty."""

    def __repr__(self) -> str:
        """Who was asked what; of arrays the dtype and the shape."""
        asked = {"label": self.label, "version": self.version, "signature": self.signature or None}
        parts = [f"{name}={value!r}" for name, value in asked.items() if value is not None]
        parts += [f"{name}: {_kind(array)}" for name, array in self.inputs.items()]
        if self.examples:
            parts.append(f"{len(self.examples)} examples")
        return f"Request({', '.join([self.call, f'model={self.model!r}', *parts])})"

    @property
    def request_id(self) -> str:
        """The call's request_id; empty where it had none."""
        return str(self.metadata.get("x-request-id", ""))

    @property
    def rows(self) -> int:
        """Pictures of a request to the image classifier: how many rows its first input has."""
        shapes = [array.shape for array in self.inputs.values()]
        return (shapes[0][0] if shapes and shapes[0] else 0) or len(self.examples)


def read(
    call: str, data: bytes, metadata: Mapping[str, str | bytes], timeout_s: float | None
) -> Request:
    """A request from its bytes.

    Raises:
        AnswerError: they are no such message.
    """
    return of_message(call, decode(MESSAGES[call], data), metadata, timeout_s)


def of_message(
    call: str, message: Any, metadata: Mapping[str, str | bytes], timeout_s: float | None
) -> Request:
    """A request from its message."""
    spec = getattr(message, "model_spec", None) or pb.ModelSpec()
    chosen = spec.WhichOneof("version_choice")
    read_inputs = _inputs(message) if call == "Predict" else {}
    inputs = {name: array for name, array in read_inputs.items() if array is not None}
    broken = sorted(read_inputs.keys() - inputs.keys())
    return Request(
        call=call,
        model=spec.name,
        label=spec.version_label if chosen == "version_label" else None,
        version=spec.version.value if chosen == "version" else None,
        signature=spec.signature_name,
        inputs=inputs,
        outputs=tuple(message.output_filter) if call == "Predict" else (),
        examples=_examples(message) if call in ("Classify", "Regress") else (),
        metadata=metadata,
        timeout_s=timeout_s,
        message=message,
        problem=f"tensor parsing error: {broken[0]}" if broken else "",
    )


def _inputs(message: Any) -> dict[str, NDArray[Any] | None]:
    """Name to array; to None for a tensor that contradicts itself."""
    return {name: _array(tensor, name) for name, tensor in message.inputs.items()}


def _array(tensor: Any, name: str) -> NDArray[Any] | None:
    try:
        return tensors.from_proto(tensor, name)
    except AnswerError:
        return None


def _kind(array: NDArray[Any]) -> str:
    return f"{'string' if array.dtype.kind == 'O' else array.dtype} {list(array.shape)}"


def _examples(message: Any) -> tuple[dict[str, list[Any]], ...]:
    kind = message.input.WhichOneof("kind")
    found = getattr(message.input, kind).examples if kind else ()
    return tuple(
        {
            name: [*getattr(feature, feature.WhichOneof("kind")).value]
            for name, feature in example.features.feature.items()
            if feature.WhichOneof("kind")
        }
        for example in found
    )
