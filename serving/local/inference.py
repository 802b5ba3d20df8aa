"""What TensorFlow Serving's flags say about answering requests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class InferenceOptions:
    """How requests are answered; the same for every model."""

    check_method_names: bool = False
    """A signature answers only the API of its method_name. Off by default, as in TensorFlow
    Serving: TensorFlow 2 gives every signature the method name `tensorflow/serving/predict`."""
    outputs_as_tensor_content: bool = False
    """Predict answers over gRPC with `tensor_content` instead of `*_val`."""

    def accepts(self, method_name: str, wanted: Iterable[str]) -> bool:
        """Whether a signature with this method name may be called where one of `wanted` is due."""
        return not self.check_method_names or method_name in wanted
