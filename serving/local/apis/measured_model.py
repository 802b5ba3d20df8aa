"""A loaded version as one request uses it: its runs are timed and counted.

TensorFlow Serving's metrics of the runtime are labelled with the model's name and the API, which
only the request knows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from serving.local import metrics
from serving.local.signature import CallableModel, Signature


class MeasuredModel:
    """Counts a version's runs under the name of a model and an API.

    Args:
        model: computes.
        name: of the model, as the request has it.
        api: Predict, Classify, Regress or MultiInference.
    """

    def __init__(self, model: CallableModel, name: str, api: str) -> None:
        self.signatures: Mapping[str, Signature] = model.signatures
        self._model = model
        self._name = name
        self._api = api

    def run(
        self, signature: Signature, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]
    ) -> dict[str, NDArray[Any]]:
        """Computes, and counts where that succeeds."""
        started = time.perf_counter()
        found = self._model.run(signature, inputs, outputs)
        if self._api != "MultiInference":
            took = 1e6 * (time.perf_counter() - started)
            metrics.RUNTIME_LATENCY.observe(took, self._name, self._api, "TF1")
        if self._api == "MultiInference":
            examples = next(iter(inputs.values()))  # all inputs are fed the same ones
            metrics.REQUEST_EXAMPLE_COUNTS.observe(len(examples), self._name)
            metrics.REQUEST_EXAMPLE_COUNT_TOTAL.increment(self._name, by=len(examples))
        return found
