"""What comes back: the types that a caller holds.

Frozen data without behaviour. Knows nothing about the wire.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """One answer to `predict`: the outputs by name, and who gave it."""

    outputs: Mapping[str, NDArray[Any]]
    """Read-only arrays; strings are object arrays of bytes."""
    model: str
    version: int
    """The version that answered, never the label that was asked for."""
    signature: str
    latency_s: float
    """From sending the request to holding the answer."""

    def __getitem__(self, output: str) -> NDArray[Any]:
        """prediction["probability"] is prediction.outputs["probability"]."""
        return self.outputs[output]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One class of one example, as TensorFlow Serving's Classify API answers it."""

    label: str
    score: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classification:
    """One answer to `classify`."""

    results: tuple[tuple[ClassScore, ...], ...]
    """One entry an example: its classes, in the model's order."""
    model: str
    version: int
    latency_s: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """What a signature says about one input or output."""

    dtype: str
    """numpy's name of it, or "string"."""
    shape: tuple[int | None, ...] | None
    """None for an open size (mostly the first: the batch); None alone where the rank is open."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signature:
    """One way to call a version."""

    name: str
    method: str
    """TensorFlow Serving's method, such as "tensorflow/serving/predict"."""
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metadata:
    """How one version can be called."""

    model: str
    version: int
    """The version that the label (or "the latest") stood for when it was asked."""
    signatures: Mapping[str, Signature]


@dataclasses.dataclass(frozen=True, kw_only=True)
class VersionStatus:
    """Where one version is in its life."""

    version: int
    state: str
    """START, LOADING, AVAILABLE, UNLOADING, END, or UNKNOWN."""
    code: str
    """"OK", or the gRPC code of what went wrong."""
    error: str
    """Why, in the server's words; empty for OK."""

    @property
    def available(self) -> bool:
        """Whether it answers now."""
        return self.state == "AVAILABLE"
