"""Watches the model folders and says which versions are wanted.

Knows the version policies and the form of a model folder; loads nothing itself.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from serving.models_config import All, Latest, Model, Specific

_log = logging.getLogger(__name__)

Aspire = Callable[[str, Mapping[int, Path]], None]


class FolderSource:
    """Polls the folders of the configured models. Thread-safe; `close` ends its thread."""

    def __init__(
        self, aspire: Aspire, poll_wait_s: float, prefix_map: tuple[str, str] | None
    ) -> None:
        """Args:
        aspire: told the wanted versions of a model with their folders, after every poll.
        poll_wait_s: seconds between polls; 0 looks once at every change of configuration, a
            negative number never.
        prefix_map: (a prefix of base_path, the folder it stands for on this machine).
        """
        self._aspire = aspire
        self._poll_wait_s = poll_wait_s
        self._prefix_map = prefix_map
        self._models: tuple[Model, ...] = ()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._said: dict[str, str] = {}
        self._thread: threading.Thread | None = None

    def configure(self, models: tuple[Model, ...]) -> None:
        """Replaces the models that are watched, and looks at once; omitted ones are unloaded."""
        with self._lock:
            kept = {model.name for model in models}
            dropped = [model.name for model in self._models if model.name not in kept]
            self._models = models
            for name in dropped:
                self._aspire(name, {})
            if self._poll_wait_s >= 0:
                self._poll()
        if self._thread is None and self._poll_wait_s > 0:
            self._thread = threading.Thread(target=self._watch, name="folder source", daemon=True)
            self._thread.start()

    def folder(self, model: Model) -> Path:
        """Where a model's versions lie on this machine."""
        return mapped(model.base_path, self._prefix_map)

    def close(self) -> None:
        """Ends the polling."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _watch(self) -> None:
        while not self._stop.wait(self._poll_wait_s):
            with self._lock:
                self._poll()

    def _poll(self) -> None:
        """Looks at every folder first: one that is missing stops the polling of all models."""
        wanted: dict[str, dict[int, Path]] = {}
        for model in self._models:
            try:
                wanted[model.name] = self._choose(model)
            except OSError as error:  # noqa: PERF203 the one that fails has to be named
                reason = error.strerror or str(error)
                self._say(
                    model.name,
                    f"Could not find base path {self.folder(model)} for servable {model.name} "
                    f"({reason}); no model is polled until it is there",
                )
                return
        for name, versions in wanted.items():
            self._aspire(name, versions)

    def _choose(self, model: Model) -> dict[int, Path]:
        found = versions_in(self.folder(model))
        match model.policy:
            case All():
                chosen = found
            case Latest(count):
                chosen = {number: found[number] for number in sorted(found)[-count:]}
            case Specific(versions):
                chosen = {number: found[number] for number in versions if number in found}
                missing = [str(number) for number in versions if number not in found]
                if missing:
                    self._say(
                        model.name,
                        f"Version {', '.join(missing)} of servable {model.name}, which was "
                        f"requested to be served, was not found under {self.folder(model)}",
                    )
                    return chosen
        if not chosen:
            self._say(
                model.name,
                f"No versions of servable {model.name} found under {self.folder(model)}",
            )
        else:
            self._said.pop(model.name, None)
        return chosen

    def _say(self, model: str, text: str) -> None:
        """Warns once for as long as the text stays the same."""
        if self._said.get(model) != text:
            self._said[model] = text
            _log.warning("%s", text)


def mapped(base_path: str, prefix_map: tuple[str, str] | None) -> Path:
    """The folder that a base_path stands for on this machine."""
    if prefix_map is not None:
        prefix, folder = (part.rstrip("/") for part in prefix_map)
        if base_path == prefix or base_path.startswith(prefix + "/"):
            return Path(folder + base_path[len(prefix) :])
    return Path(base_path.removeprefix("file://"))


def versions_in(folder: Path) -> dict[int, Path]:
    """The version folders: names that are whole numbers, leading zeros allowed, others skipped.

    Raises:
        OSError: the folder is missing or cannot be read.
    """
    return {
        int(child.name): child
        for child in sorted(folder.iterdir())
        if _is_version(child.name) and child.is_dir()
    }


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit() and int(name) < 2**63
