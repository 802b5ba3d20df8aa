"""What TensorFlow Serving's flags say about answering requests, and the names of its methods.

Knows nothing about requests, models or transports.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

PREDICT_METHOD: Final = "tensorflow/serving/predict"
CLASSIFY_METHOD: Final = "tensorflow/serving/classify"
REGRESS_METHOD: Final = "tensorflow/serving/regress"


@dataclass(frozen=True, kw_only=True)
class InferenceOptions:
    """How requests are answered; the same for every model."""

    check_method_names: bool = False
    """A signature answers only the API that its method_name is of. Off, as in TensorFlow Serving:
    TensorFlow 2 calls every signature `tensorflow/serving/predict`."""
    outputs_as_tensor_content: bool = False
    """Predict answers over gRPC with `tensor_content` instead of `*_val`."""

    def accepts(self, method_name: str, wanted: Iterable[str]) -> bool:
        """Whether a signature of this method name may be called as one of the wanted."""
        return not self.check_method_names or method_name in wanted
