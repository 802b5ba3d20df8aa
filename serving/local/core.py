"""The server without its transports: configuration, labels, versions, status, metadata.

Finds the version that a request means and keeps it alive while the request runs. It needs no
TensorFlow: loaded versions come from the loader that it is given.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from grpc import StatusCode

from serving import models_config
from serving.local import caller
from serving.local.errors import ServingError, failed_precondition, invalid_argument, refuse
from serving.local.inference import InferenceOptions
from serving.local.signature import ServableModel, Signature
from serving.local.versions.manager import VersionManager
from serving.local.versions.source import FolderSource
from serving.local.versions.states import Handle, LoadOptions, State, VersionStatus
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
    inference: InferenceOptions = field(default_factory=InferenceOptions)


@dataclass(frozen=True)
class ModelSpec:
    """Which version of which model a request means; a version excludes a label."""

    name: str
    version: int | None = None
    label: str | None = None


class ServerCore:
    """One server's models. Thread-safe; `close` unloads them.

    Args:
        load: (model, version, folder) → the loaded and warmed-up version.
        options: see CoreOptions.
    """

    def __init__(self, load: Loader, options: CoreOptions) -> None:
        self.inference = options.inference
        self._options = options
        self._versions: VersionManager[ServableModel] = VersionManager(load, options.load)
        self._source = FolderSource(
            self._versions.aspire, options.folder_poll_wait_s, options.prefix_map
        )
        self._reload_lock = threading.Lock()
        self._stopping = False
        self._config = ModelsConfig(is_set=False)
        self._labels: Mapping[str, Mapping[str, int]] | None = None
        """Never changed, only replaced: a request reads it without a lock."""

    def start(self, config: ModelsConfig) -> None:
        """Takes the first configuration; returns before its models are loaded.

        Raises:
            ServingError: as `reload` until it waits.
        """
        with self._turn(), caller.waiting(lambda: False):
            self._apply(config)

    def reload(self, config: ModelsConfig) -> None:
        """Replaces the whole configuration, or leaves everything as it was.

        Returns before new versions of known models are loaded, but waits, with every later reload
        behind it, until each new model serves. It waits as long as its caller does; TensorFlow
        Serving waits on without the caller, and so do all later reloads until it is restarted.

        Raises:
            ServingError: refused, with everything left as it was: INVALID_ARGUMENT, names, paths or
                platforms; FAILED_PRECONDITION, a label on a version that is not available, or no
                list where there was one; CANCELLED: the caller went before its turn came. Accepted,
                but UNKNOWN: a new model has failed; UNAVAILABLE: the server stops; CANCELLED: the
                caller has gone.
        """
        with self._turn():
            new = self._apply(config)
            if self._await(new, timeout_s=0.0):
                return
            names = ", ".join(sorted(new))
            _log.info("a reload waits, and holds up others, for: %s", names)
            if self._await(new):
                return
            if caller.waits():
                raise ServingError(StatusCode.UNAVAILABLE, "the server stops")
            _log.warning(
                "the caller of a reload has gone; its configuration stands, and of its new models "
                "not all serve yet: %s",
                names,
            )
            raise caller.gone()

    def wait_until_available(self, timeout_s: float | None = None) -> bool:
        """Waits until each model of the first configuration serves; whether that is so now.

        Raises:
            ServingError: UNKNOWN, each model serves or has failed, and one has failed.
        """
        names = [model.name for model in self._config.models]
        return self._await(names, timeout_s, "servable")

    def stop_reloads(self) -> None:
        """Refuses reloads from now on, and ends the one that waits."""
        self._stopping = True
        self._versions.stop_waiting()

    def handle(self, spec: ModelSpec) -> Handle[ServableModel]:
        """Takes hold of the version that a request means; use it in a `with` block.

        Raises:
            ServingError: INVALID_ARGUMENT, no name or an unknown label; UNAVAILABLE, a label before
                the first configuration; NOT_FOUND, the version is not loaded.
        """
        while True:
            labels = self._labels
            try:
                return self._versions.handle(spec.name, _version_of(spec, labels))
            except ServingError:
                # One change of configuration may move a label and drop the version it pointed at.
                # If the labels have changed since this request read them, it reads them again.
                if spec.label is None or self._labels is labels:
                    raise

    def knows(self, name: str) -> bool:
        """Whether a model of this name is configured."""
        return name in (self._labels or {})

    def labels(self) -> Mapping[str, Mapping[str, int]]:
        """Each configured model's labels, and the version that each points at."""
        return self._labels or {}

    def statuses(self, spec: ModelSpec) -> list[VersionStatus]:
        """The states of a model's versions, or of one. A label is ignored, as TensorFlow Serving
        does.

        Raises:
            ServingError: NOT_FOUND.
        """
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
        self.stop_reloads()
        self._source.close()
        self._versions.close(timeout_s)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One reload after the other, as long as its caller waits."""
        while not self._reload_lock.acquire(timeout=caller.LOOK_S):
            if not caller.waits():
                raise caller.gone()
        try:
            yield
        finally:
            self._reload_lock.release()

    def _apply(self, config: ModelsConfig) -> list[str]:
        """Checks a configuration in TensorFlow Serving's order and makes it the present one.

        Returns:
            The models that are new in it.
        """
        if self._stopping:
            raise ServingError(StatusCode.UNAVAILABLE, "the server stops")
        if not config.is_set:
            if self._config.is_set:
                raise failed_precondition(
                    "Cannot transition to requested config. It is only legal to transition from "
                    "one ModelConfigList to another."
                )
            _log.info("Taking no action for empty config.")
            return []
        known = {model.name for model in self._config.models}
        try:
            models_config.check_list(config.models)
            self._check_changed_platforms(config)
            self._check_labels(config)
            models_config.check_platforms(config.models)
        except ConfigError as error:
            raise invalid_argument(error.served_text) from error
        changed = config.models != self._config.models or not self._config.is_set
        self._config = config
        # Labels first: a version is unloaded only when no label leads to it any more.
        self._labels = {model.name: dict(model.labels) for model in config.models}
        if changed:
            _log.info("configuration: %s", describe(config))
            self._source.configure(config.models)
        return [model.name for model in config.models if model.name not in known]

    def _await(
        self, names: Sequence[str], timeout_s: float | None = None, kind: str = "model"
    ) -> bool:
        settled = self._versions.wait_until_available(names, timeout_s)
        if len(settled) < len(names):
            return False
        failed = {n: s for n, s in sorted(settled.items()) if s.state is State.END}
        if failed:
            each = "".join(
                f"{{{{name: {name} version: {status.version}}} due to error: {status.error}}}, "
                for name, status in failed.items()
            )
            raise ServingError(
                StatusCode.UNKNOWN, f"{len(failed)} {kind}(s) did not become available: {{{each}}}"
            )
        return True

    def _check_changed_platforms(self, config: ModelsConfig) -> None:
        before = {model.name: model.platform for model in self._config.models}
        for model in config.models:
            platform = before.get(model.name, model.platform)
            if model.platform and platform != model.platform:
                raise invalid_argument(
                    f"Illegal to change a model's platform. For model {model.name} platform was "
                    f"{platform} and new platform requested is {model.platform}"
                )
            if model.name in before:
                models_config.check_platforms([model])

    def _check_labels(self, config: ModelsConfig) -> None:
        for model in config.models:
            known = (self._labels or {}).get(model.name, {})
            # TensorFlow Serving names the first in the order of a hash map; here it is the lowest.
            for label, version in sorted(model.labels.items(), key=lambda item: item[1]):
                moves = label in known and known[label] != version
                if self._options.labels_for_unavailable_versions and not moves:
                    continue
                if not self._versions.is_available(model.name, version):
                    raise failed_precondition(
                        f"Request to assign label to version {version} of model {model.name}, "
                        "which is not currently available for inference"
                    )


def _version_of(spec: ModelSpec, labels: Mapping[str, Mapping[str, int]] | None) -> int | None:
    if not spec.name:
        refuse("ModelSpec has no name specified.")
    if spec.version is not None:
        return spec.version
    if spec.label is None:
        return None
    if labels is None:
        raise ServingError(StatusCode.UNAVAILABLE, f"Model labels does not init yet.{spec.label}")
    version = labels.get(spec.name, {}).get(spec.label)
    if version is None:
        raise invalid_argument(f"Unrecognized servable version label: {spec.label}")
    return version


def describe(config: ModelsConfig) -> str:
    """One line: models, what they serve and their labels."""
    parts = []
    for model in config.models:
        labels = ", ".join(f"{label} → {version}" for label, version in model.labels.items())
        parts.append(f"{model.name} {model.policy}" + (f" ({labels})" if labels else ""))
    return "; ".join(parts) or "no models"
