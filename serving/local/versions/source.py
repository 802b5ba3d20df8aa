"""Watches the model folders and tells which versions are wanted, by each model's version policy."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from serving.local import caller
from serving.models_config import All, Latest, Model, Specific

_log = logging.getLogger(__name__)

Aspire = Callable[[str, Mapping[int, Path]], None]

_VERSION: Final = re.compile(r"\s*-?[0-9]+\s*", re.ASCII)
"""What TensorFlow reads as a whole number; 0 and negative numbers are versions, too."""


class FolderSource:
    """Polls the folders of the configured models. Thread-safe; `close` ends its thread.

    Args:
        aspire: told the wanted versions of a model with their folders, after every poll.
        poll_wait_s: seconds between polls. 0 looks once, at the first configuration, and never
            again: a model or a version that comes later is not found. Negative: never looks.
        prefix_map: (a prefix of base_path, the folder it stands for on this machine).
    """

    def __init__(
        self, aspire: Aspire, poll_wait_s: float, prefix_map: tuple[str, str] | None
    ) -> None:
        self._aspire = aspire
        self._poll_wait_s = poll_wait_s
        self._prefix_map = prefix_map
        self._models: tuple[Model, ...] = ()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._said: frozenset[str] = frozenset()
        self._begun = 0
        """Looks that have begun; a look's number."""
        self._newest = 0
        """The look that has said what is wanted."""
        self._thread: threading.Thread | None = None
        self._configured = False

    def configure(self, models: tuple[Model, ...]) -> None:
        """Replaces the models that are watched, and looks at once; omitted ones are unloaded.

        Returns before it has looked where a folder does not answer and the caller has gone.
        """
        with self._lock:
            kept = {model.name for model in models}
            dropped = [model.name for model in self._models if model.name not in kept]
            self._models = models
            for name in dropped:
                self._aspire(name, {})
            looks = self._poll_wait_s > 0 or (self._poll_wait_s == 0 and not self._configured)
            self._configured = True
        if looks:
            self._look()
        elif models:
            _log.warning(
                "file_system_poll_wait_seconds=%g: no folder is looked at now, so that models and "
                "versions that are new in this configuration are not loaded",
                self._poll_wait_s,
            )
        if self._thread is None and self._poll_wait_s > 0:
            self._thread = threading.Thread(target=self._watch, name="folder source", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Ends the polling."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _watch(self) -> None:
        while not self._stop.wait(self._poll_wait_s):
            self._look()

    def _look(self) -> None:
        """Polls in a thread of its own, which may hang where a mount does.

        Waits for it as long as the caller does and these are the models.
        """
        with self._lock:
            self._begun += 1
            number, models = self._begun, self._models
        look = threading.Thread(
            target=self._poll, args=(number, models), name="folder look", daemon=True
        )
        look.start()
        while look.is_alive():
            look.join(caller.LOOK_S)
            if self._models is not models or self._stop.is_set() or not caller.waits():
                return

    def _poll(self, number: int, models: tuple[Model, ...]) -> None:
        """Looks at all folders before it reports any: a missing one stops the polling of all."""
        wanted: dict[str, dict[int, Path]] = {}
        saying: set[str] = set()

        def say(text: str) -> None:
            # Warns, but not again as long as every poll says the same.
            if text not in self._said and text not in saying:
                _log.warning("%s", text)
            saying.add(text)

        for model in models:
            folder = mapped(model.base_path, self._prefix_map)
            try:
                wanted[model.name] = _choose(model, folder, say)
            except OSError as error:
                say(
                    "FileSystemStoragePathSource encountered a filesystem access error: Could not "
                    f"find base path {folder} for servable {model.name} "
                    f"({error.strerror or error}); no model is polled until it is there"
                )
                wanted = {}
                break
        with self._lock:
            if number < self._newest or self._models is not models:
                return  # it took so long that another one, or another configuration, overtook it
            self._newest = number
            self._said = frozenset(saying)
            for name, versions in wanted.items():
                self._aspire(name, versions)


def _choose(model: Model, folder: Path, say: Callable[[str], None]) -> dict[int, Path]:
    """The versions of a model that its policy wants, of those that its folder has."""
    every = isinstance(model.policy, All)
    found = versions_in(folder, say, first_wins=every)
    match model.policy:
        case Latest(count):
            chosen = {number: found[number] for number in sorted(found)[-count:]}
        case Specific(versions):
            chosen = {number: found[number] for number in versions if number in found}
            for number in versions:
                if number not in found:
                    say(
                        f"Version {number} of servable {model.name}, which was requested to be "
                        "served as a 'specific' version in the servable's version policy, was "
                        "not found in the file system"
                    )
        case _:
            chosen = found
    if not chosen:
        say(
            f"No versions of servable {model.name} found under base path {folder}. Did you "
            "forget to name your leaf directory as a number (eg. '/1/')?"
        )
    return chosen


def mapped(base_path: str, prefix_map: tuple[str, str] | None) -> Path:
    """The folder that a base_path stands for on this machine."""
    if prefix_map is not None:
        prefix, folder = (part.rstrip("/") for part in prefix_map)
        if base_path == prefix or base_path.startswith(prefix + "/"):
            return Path(folder + base_path[len(prefix) :])
    return Path(base_path.removeprefix("file://"))


def unmapped(path: Path, prefix_map: tuple[str, str] | None) -> str:
    """The path by which the configuration knows a folder on this machine."""
    if prefix_map is not None:
        prefix, folder = (part.rstrip("/") for part in prefix_map)
        if path.is_relative_to(folder):
            return f"{prefix}/{path.relative_to(folder)}"
    return str(path)


def versions_in(
    folder: Path, say: Callable[[str], None], first_wins: bool = False
) -> dict[int, Path]:
    """The versions in a model's folder: names that are whole numbers, others are skipped.

    Args:
        folder: of the model.
        say: told of two names for one version, as 1 and 001 are.
        first_wins: which of them counts, in the order of the alphabet; otherwise the last.

    Raises:
        OSError: the folder is missing or cannot be read.
    """
    found: dict[int, Path] = {}
    names = sorted(child.name for child in folder.iterdir() if _VERSION.fullmatch(child.name))
    for name in reversed(names) if first_wins else names:
        number = int(name)
        if not -(2**63) <= number < 2**63:
            continue
        if number in found:
            say(
                f"Duplicate version directories detected. Version {number} will be loaded from "
                f"{name}, {found[number].name} will be ignored."
            )
        found[number] = folder / name
    return found
