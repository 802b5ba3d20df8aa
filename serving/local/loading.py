"""Loads a version and warms it up: what has to succeed before it is AVAILABLE.

Knows nothing about which versions are wanted or about transports.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grpc import StatusCode

from serving.local import messages, warmup
from serving.local.batching import BatchedModel, Scheduler
from serving.local.errors import ServingError
from serving.local.inference import InferenceOptions
from serving.local.model_store import LoadedModel, SessionOptions
from serving.local.signature import ServableModel

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WarmupOptions:
    """What TensorFlow Serving's flags say about warm-up."""

    enabled: bool = True
    iterations: int = 1
    """Times that each record is replayed."""


@dataclass(frozen=True)
class ModelLoader:
    """The core's loader."""

    session: SessionOptions
    warmup: WarmupOptions
    batching: Scheduler | None = None
    """Merges the requests of all versions; None where batching is off."""
    inference: InferenceOptions = field(default_factory=InferenceOptions)

    def __call__(self, model: str, version: int, path: Path) -> ServableModel:
        """Loads the SavedModel in a folder and replays its warm-up requests.

        Raises:
            ServingError: it cannot be loaded, or one of its own warm-up requests fails.
        """
        loaded: ServableModel = LoadedModel(path, self.session)
        if self.batching is not None:
            loaded = BatchedModel(loaded, self.batching)
        try:
            if self.warmup.enabled:
                self._warm_up(loaded, version, path, f"{model} version {version}")
        except BaseException:
            loaded.close()
            raise
        return loaded

    def _warm_up(self, loaded: ServableModel, version: int, path: Path, title: str) -> None:
        started = time.monotonic()
        logs = list(warmup.records(path))
        for log in logs:
            for _ in range(self.warmup.iterations):
                _replay(loaded, version, log, self.inference)
        if logs:
            _log.info(
                "warmed %s up with %d requests in %.2f s",
                title,
                len(logs),
                time.monotonic() - started,
            )


def _replay(model: ServableModel, version: int, log: Any, options: InferenceOptions) -> None:
    kind = log.WhichOneof("log_type")
    match kind:
        case "predict_log":
            run = messages.run_predict
        case "classify_log":
            run = messages.run_classify
        case "regress_log":
            run = messages.run_regress
        case "multi_inference_log":
            run = messages.run_multi_inference
        case "session_run_log":
            number = log.DESCRIPTOR.fields_by_name[kind].number
            raise ServingError(
                StatusCode.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}"
            )
        case _:
            # TensorFlow Serving passes over what it does not know as well.
            return
    run(model, version, getattr(log, kind).request, options).SerializeToString()
