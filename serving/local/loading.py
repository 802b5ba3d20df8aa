"""Loads a version and warms it up: what has to succeed before it is AVAILABLE.

Knows nothing about which versions are wanted or about transports.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpc import StatusCode

from serving.local import messages, warmup
from serving.local.batching import BatchedModel, Scheduler
from serving.local.errors import ServingError
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
                _replay(loaded, version, log)
        if logs:
            _log.info(
                "warmed %s up with %d requests in %.2f s",
                title,
                len(logs),
                time.monotonic() - started,
            )


def _replay(model: ServableModel, version: int, log: Any) -> None:
    match log.WhichOneof("log_type"):
        case "predict_log":
            messages.run_predict(model, version, log.predict_log.request).SerializeToString()
        case "classify_log":
            messages.run_classify(model, version, log.classify_log.request).SerializeToString()
        case kind:
            raise ServingError(
                StatusCode.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind or 'none'}"
            )
