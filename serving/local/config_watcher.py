"""Reads models.config again and again, and hands it to the core."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from grpc import StatusCode

from serving import models_config
from serving.local import caller
from serving.local.core import ServerCore
from serving.local.errors import ServingError
from serving.models_config import ConfigError

_log = logging.getLogger(__name__)


class ConfigWatcher:
    """Applies models.config at every look, changed or not, as TensorFlow Serving does.

    So a label takes hold as soon as its version is loaded. A refused file changes nothing; the
    same refusal is logged once. Where a new model keeps a reload waiting, it waits until the file
    says something else.

    Args:
        core: told the configuration.
        path: the file.
        poll_wait_s: seconds between two looks; 0 never looks again.
    """

    def __init__(self, core: ServerCore, path: Path, poll_wait_s: float) -> None:
        self._core = core
        self._path = path
        self._poll_wait_s = poll_wait_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts looking, unless the interval is 0."""
        if self._poll_wait_s > 0:
            self._thread = threading.Thread(target=self._watch, name="config watcher", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stops looking."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _watch(self) -> None:
        said = ""
        while not self._stop.wait(self._poll_wait_s):
            fault = self._reload()
            if fault and fault != said:
                _log.error("%s", fault)
            said = fault

    def _reload(self) -> str:
        """What is wrong, empty if nothing is."""
        content = self._content()
        try:
            config = models_config.read(self._path)
            with caller.waiting(lambda: not self._stop.is_set() and self._content() == content):
                self._core.reload(config)
        except ConfigError as error:
            return f"configuration not changed: {error}"
        except ServingError as error:
            if error.code is StatusCode.CANCELLED:
                return ""
            changed = "changed, but" if error.code is StatusCode.UNKNOWN else "not changed"
            return f"configuration {changed}: {self._path}: {error}"
        except Exception as error:  # the watcher outlives whatever a file can do to it
            return f"configuration not changed: {self._path}: {error}"
        return ""

    def _content(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except OSError:
            return None
