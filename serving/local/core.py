"""The server without its transports: configuration, labels, versions, status, metadata.

Finds the version that a request means and keeps it alive while the request runs. Knows nothing
about TensorFlow (loaded versions come from the loader it is given), gRPC messages or HTTP.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serving import models_config
from serving.local.errors import failed_precondition, invalid_argument, refuse
from serving.local.signature import ServableModel, Signature
from serving.local.source import FolderSource
from serving.local.versions import Handle, LoadOptions, VersionManager, VersionStatus
from serving.models_config import ConfigError, ModelsConfig

_log = logging.getLogger(__name__)

Loader = Callable[[str, int, Path], ServableModel]


@dataclass(frozen=True, kw_only=True)
class CoreOptions:
    """What TensorFlow Serving's flags say about configuration and loading."""

    folder_poll_wait_s: float = 1.0
    prefix_map: tuple[str, str] | None = None
    """(a prefix of base_path, the folder it stands for), see `source.FolderSource`."""
    labels_for_unavailable_versions: bool = False
    """A new label may point at a version that is not loaded (yet)."""
    load: LoadOptions = field(default_factory=LoadOptions)


@dataclass(frozen=True)
class ModelSpec:
    """Which version of which model a request means; a version excludes a label."""

    name: str
    version: int | None = None
    label: str | None = None


class ServerCore:
    """One server's models. Thread-safe; `close` unloads them."""

    def __init__(self, load: Loader, options: CoreOptions) -> None:
        """Args:
        load: (model, version, folder) → the loaded and warmed-up version.
        options: see CoreOptions.
        """
        self._options = options
        self._versions: VersionManager[ServableModel] = VersionManager(load, options.load)
        self._source = FolderSource(
            self._versions.aspire, options.folder_poll_wait_s, options.prefix_map
        )
        self._reload_lock = threading.Lock()
        self._config = ModelsConfig()
        self._labels: Mapping[str, Mapping[str, int]] = {}

    def reload(self, config: ModelsConfig) -> None:
        """Replaces the whole configuration, or leaves everything as it was.

        Returns before versions are loaded.

        Raises:
            ServingError: a changed platform (INVALID_ARGUMENT), a label on a version that is not
                available (FAILED_PRECONDITION).
        """
        with self._reload_lock:
            self._check_platforms(config)
            self._check_labels(config)
            changed = config.models != self._config.models
            self._config = config
            self._labels = {model.name: dict(model.labels) for model in config.models}
            if changed:
                _log.info("configuration: %s", describe(config))
                self._source.configure(config.models)

    def wait_until_available(self, timeout_s: float | None = None) -> dict[str, VersionStatus]:
        """Waits until each configured model serves or has failed, see VersionManager."""
        names = [model.name for model in self._config.models]
        return self._versions.wait_until_available(names, timeout_s)

    def all_settled(self, settled: Mapping[str, VersionStatus]) -> bool:
        """Whether `wait_until_available` answered for every configured model."""
        return all(model.name in settled for model in self._config.models)

    def version_of(self, spec: ModelSpec) -> int | None:
        """The version that is asked for; None for the latest.

        Raises:
            ServingError: INVALID_ARGUMENT, no name or an unknown label.
        """
        if not spec.name:
            refuse("ModelSpec has no name specified.")
        if spec.version is not None:
            return spec.version
        if spec.label is None:
            return None
        version = self._labels.get(spec.name, {}).get(spec.label)
        if version is None:
            raise invalid_argument(f"Unrecognized servable version label: {spec.label}")
        return version

    def handle(self, spec: ModelSpec) -> Handle[ServableModel]:
        """Takes hold of the version that a request means; use it in a `with` block.

        Raises:
            ServingError: INVALID_ARGUMENT as in `version_of`; NOT_FOUND, it is not loaded.
        """
        return self._versions.handle(spec.name, self.version_of(spec))

    def statuses(self, spec: ModelSpec) -> list[VersionStatus]:
        """The states of a model's versions, or of one. A label is ignored, as TensorFlow Serving
        does.

        Raises:
            ServingError: NOT_FOUND, INVALID_ARGUMENT.
        """
        if not spec.name:
            refuse("ModelSpec has no name specified.")
        return self._versions.statuses(spec.name, spec.version)

    def metadata(self, spec: ModelSpec) -> tuple[int, Mapping[str, Signature]]:
        """The version that answers, and its signatures.

        Raises:
            ServingError: as `handle`.
        """
        with self.handle(spec) as handle:
            return handle.version, handle.loaded.signatures

    def close(self, timeout_s: float = 5.0) -> None:
        """Stops polling and unloads everything."""
        self._source.close()
        self._versions.close(timeout_s)

    def _check_platforms(self, config: ModelsConfig) -> None:
        before = {model.name: model.platform for model in self._config.models}
        for model in config.models:
            platform = before.get(model.name, model.platform)
            if platform != model.platform:
                raise invalid_argument(
                    f"Illegal to change a model's platform. For model {model.name} platform was "
                    f"{platform} and new platform requested is {model.platform}"
                )
            if model.platform != models_config.PLATFORM:
                raise invalid_argument(
                    f"ModelServer does not support model platform: {model.platform}"
                )

    def _check_labels(self, config: ModelsConfig) -> None:
        for model in config.models:
            known = self._labels.get(model.name, {})
            for label, version in model.labels.items():
                moves = label in known and known[label] != version
                if self._options.labels_for_unavailable_versions and not moves:
                    continue
                if not self._versions.is_available(model.name, version):
                    raise failed_precondition(
                        f"Request to assign label to version {version} of model {model.name}, "
                        "which is not currently available for inference"
                    )


class ConfigWatcher:
    """Reads models.config again and again, and applies it each time, as TensorFlow Serving does.

    A refused file changes nothing; the refusal is logged once for as long as it stays the same.
    That it is applied even when the file has not changed lets a label take hold once its version
    is loaded.
    """

    def __init__(self, core: ServerCore, path: Path, poll_wait_s: float) -> None:
        """Args:
        core: told the configuration.
        path: the file.
        poll_wait_s: seconds between two looks; 0 never looks again.
        """
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
            try:
                self._core.reload(models_config.read(self._path))
                refusal = ""
            except ConfigError as error:
                refusal = str(error)
            except Exception as error:  # the watcher outlives whatever a file can do to it
                refusal = f"{self._path}: {error}"
            if refusal and refusal != said:
                _log.error("configuration not changed: %s", refusal)
            said = refusal


def describe(config: ModelsConfig) -> str:
    """One line: models, what they serve and their labels."""
    parts = []
    for model in config.models:
        labels = ", ".join(f"{label} → {version}" for label, version in model.labels.items())
        parts.append(f"{model.name} {model.policy}" + (f" ({labels})" if labels else ""))
    return "; ".join(parts) or "no models"
