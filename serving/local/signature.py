"""How a model can be called: its signatures, and what all kinds of loaded models have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from numpy.typing import NDArray

from serving.local.dtypes import DTYPE_NAMES

DEFAULT_SIGNATURE: Final = "serving_default"

PREDICT_METHOD: Final = "tensorflow/serving/predict"
CLASSIFY_METHOD: Final = "tensorflow/serving/classify"
REGRESS_METHOD: Final = "tensorflow/serving/regress"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a signature."""

    tensor_name: str
    """The name in the graph, `node:0`."""
    dtype: int
    """A tensorflow.DataType."""
    shape: tuple[int, ...] | None
    """-1 where a size is not fixed; None where not even the rank is."""

    @property
    def dtype_name(self) -> str:
        """TensorFlow's name for the dtype."""
        return DTYPE_NAMES.get(self.dtype, "invalid")


@dataclass(frozen=True)
class Signature:
    """One way of calling a model."""

    name: str
    inputs: Mapping[str, TensorSpec]
    """Alias → tensor, in the order of the aliases."""
    outputs: Mapping[str, TensorSpec]
    """Alias → tensor, in the order of the aliases."""
    method_name: str
    defaults: Mapping[str, Any]
    """Alias → the TensorProto that stands in for an input which is not sent; mostly empty."""
    message: Any
    """The SignatureDef itself, for metadata and for the texts that quote it."""


def from_signature_def(name: str, message: Any) -> Signature:
    """Converts a SignatureDef."""
    return Signature(
        name=name,
        inputs={alias: _spec(message.inputs[alias]) for alias in sorted(message.inputs)},
        outputs={alias: _spec(message.outputs[alias]) for alias in sorted(message.outputs)},
        method_name=message.method_name,
        defaults=dict(message.defaults),
        message=message,
    )


def _spec(info: Any) -> TensorSpec:
    shape = info.tensor_shape
    sizes = None if shape.unknown_rank else tuple(dim.size for dim in shape.dim)
    return TensorSpec(tensor_name=info.name, dtype=info.dtype, shape=sizes)


class CallableModel(Protocol):
    """What an API needs of a loaded version."""

    signatures: Mapping[str, Signature]

    def run(
        self, signature: Signature, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]
    ) -> dict[str, NDArray[Any]]:
        """Computes outputs (aliases) from inputs (alias → array); raises ServingError."""


class ServableModel(CallableModel, Protocol):
    """A loaded version: a `SavedModel`, a `TfliteModel`, or one of them as a `BatchedModel`."""

    def close(self) -> None:
        """Frees it."""
