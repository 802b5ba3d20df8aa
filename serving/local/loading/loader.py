"""Loads a version and warms it up: what has to succeed before it is AVAILABLE."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from serving.local import metrics
from serving.local.batching.batched_model import BatchedModel, Scheduler
from serving.local.errors import ServingError, invalid_argument, refuse
from serving.local.inference import InferenceOptions
from serving.local.loading import load_errors, tflite_model, warmup
from serving.local.loading.saved_model import SavedModel, SessionOptions
from serving.local.loading.tflite_model import TfliteModel
from serving.local.loading.warmup import WarmupOptions
from serving.local.signature import ServableModel
from serving.local.versions import source

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelLoader:
    """The core's loader."""

    session: SessionOptions
    warmup: WarmupOptions
    batching: Scheduler | None = None
    """Merges the requests of all versions; None where batching is off."""
    inference: InferenceOptions = field(default_factory=InferenceOptions)
    prefer_tflite: bool = False
    """Load model.tflite where a version has one."""
    prefix_map: tuple[str, str] | None = None
    """As in `source.mapped`; metrics show paths as the configuration has them."""

    def __call__(self, model: str, version: int, path: Path) -> ServableModel:
        """Loads the model in a folder and replays its warm-up requests.

        Raises:
            ServingError: it cannot be loaded, or one of its own warm-up requests fails.
        """
        if version < 0:
            raise invalid_argument(
                f'Session version shouldn\'t be negative: name: "{model}" version: {version}'
            )
        loaded = self._load(path)
        if self.batching is not None:
            loaded = BatchedModel(loaded, self.batching)
        try:
            if self.warmup.enabled:
                self._warm_up(loaded, version, path, f"{model} version {version}")
        except BaseException:
            loaded.close()
            raise
        return loaded

    def _load(self, path: Path) -> ServableModel:
        tflite = path / tflite_model.FILE_NAME
        if self.prefer_tflite and tflite.exists():
            _check_files(path)
            return TfliteModel(tflite)
        started = time.perf_counter()
        status = "fail"
        try:
            _check_files(path)
            loaded = self._saved_model(path)
            status = "success"
        finally:
            took = int(1e6 * (time.perf_counter() - started))
            metrics.LOAD_LATENCY.increment(self._shown(path), by=took)
            metrics.LOAD_ATTEMPT_COUNT.increment(self._shown(path), status)
        return loaded

    def _saved_model(self, path: Path) -> SavedModel:
        try:
            return SavedModel(path, self.session)
        except ServingError as error:
            raise load_errors.as_served(error, path, self.session.tags) from error

    def _shown(self, path: Path) -> str:
        return source.unmapped(path, self.prefix_map)

    def _warm_up(self, loaded: ServableModel, version: int, path: Path, title: str) -> None:
        started = time.monotonic()
        count = warmup.replay(loaded, version, path, self.warmup.iterations, self.inference)
        if count:
            took = time.monotonic() - started
            metrics.MODEL_WARMUP_LATENCY.observe(1e6 * took, self._shown(path), "OK")
            _log.info("warmed %s up with %d requests in %.2f s", title, count, took)


def _check_files(folder: Path) -> None:
    """Refuses what would keep a reader waiting for ever: a FIFO, a socket, a device.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    for parent, _, names in os.walk(folder):
        for name in names:
            file = Path(parent, name)
            if file.exists() and not file.is_file():
                refuse(
                    f"Expected files and folders only. Received: {file}, which is neither. Publish "
                    "the version again."
                )
