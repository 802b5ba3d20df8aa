"""models.config in a ConfigMap, as the rollout writes it: a Place in a cluster.

    ConfigMap image-classifier-config       models.config, which every pod mounts and polls
    ConfigMap image-classifier-rollouts     the history, and the note of the change under way
    Lease image-classifier-rollout          who is at work

Each write names the version of the object that was read (resourceVersion). The API server refuses
the write if the object has changed since, so no edit is lost, even without the lease.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any, Final

from foundation.command_line import InputError
from serving import models_config
from serving.cluster.kubectl import (
    FIELD_MANAGER,
    LABELS,
    ConflictError,
    Kubectl,
    NotFoundError,
    current_context,
)
from serving.cluster.lease import Lease
from serving.fleet.place import EditedMeanwhileError
from serving.models_config import ConfigError, ModelsConfig

CONFIG: Final = "image-classifier-config"
KEY: Final = "models.config"
ROLLOUTS: Final = "image-classifier-rollouts"

_HISTORY_BYTES: Final = 512 * 1024
"""The oldest lines are dropped beyond: an object holds 1 MiB."""

_NOTE: Final = "pending.json"
_HISTORY: Final = "history.jsonl"


class ConfigMapFile:
    """The models.config of one namespace.

    Args:
        kubectl: the cluster and the namespace.
    """

    def __init__(self, kubectl: Kubectl):
        self._kubectl = kubectl
        self._text = ""
        self._version = ""
        self._attempted = ""
        """The text of a write that failed, which may have arrived all the same."""
        self.lease = Lease(kubectl, self.name)
        """Its holder is the only operator."""

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"ConfigMap {self._kubectl.namespace}/{CONFIG}"

    @property
    def cluster(self) -> str:
        """The cluster in words: by the context that kubectl takes for it."""
        context = self._kubectl.context or current_context()
        return f"the cluster of the context {context}" if context else "this cluster"

    @property
    def note_name(self) -> str:
        """The name in messages of the note of a change."""
        return f"{_NOTE} in ConfigMap {self._kubectl.namespace}/{ROLLOUTS}"

    @property
    def text(self) -> str:
        """The text that was read or written last."""
        return self._text

    def read(self) -> ModelsConfig:
        """What it says now.

        Raises:
            ConfigError: it is not valid; says where, with line and column.
            KubectlError: it cannot be read, or is not there.
        """
        self._text, self._version = self._now()
        try:
            return models_config.parse(self._text)
        except ConfigError as error:
            raise ConfigError(f"{self.name}, {KEY}:{error}", error.served_text) from error

    def write(self, config: ModelsConfig, *, urgent: bool = False) -> None:
        """Replaces the content, in one write; there is no more urgent way.

        Raises:
            EditedMeanwhileError: it is not as it was read, or written, last.
            KubectlError: it cannot be written; it is as it was.
        """
        text = models_config.render(config)
        assert models_config.parse(text) == config, "what is written is what is meant"
        if self.lease.lost:
            raise self._edited("another operator, who has taken over")
        attempted, self._attempted = self._attempted, text
        try:
            self._version = self._patch(text)
        except ConflictError:
            # Perhaps only its labels or monitoring.config have changed, which does no harm.
            now, self._version = self._now()
            if now not in (self._text, attempted):
                raise self._edited("another content") from None
            self._version = self._patch(text)
        self._text, self._attempted = text, ""

    @contextlib.contextmanager
    def sole_operator(self, about: dict[str, Any]) -> Iterator[None]:
        """Holds the lease, which keeps all other operators away.

        Raises:
            InputError: another operator holds it.
        """
        try:
            self.lease.take(about)
        except NotFoundError:
            self._now()  # its error says so where the whole namespace is missing
            raise
        try:
            yield
        finally:
            self.lease.give_back()

    def operator(self) -> str | None:
        """Who holds the lease now, in words; None where nobody does."""
        return self.lease.holder()

    def note(self) -> str | None:
        """The note that put_note wrote; None where there is none."""
        return self._rollouts()[0].get(_NOTE)

    def put_note(self, text: str) -> None:
        """Writes a note of what is about to be done."""
        self._write_rollouts({_NOTE: text})

    def drop_note(self, line: str = "") -> None:
        """Removes the note and adds a line to the history, in one write."""
        self._write_rollouts({_NOTE: None}, line)

    def add_line(self, line: str) -> None:
        """Adds a line to the history."""
        self._write_rollouts({}, line)

    def lines(self) -> list[str]:
        """The history, the oldest first."""
        return self._rollouts()[0].get(_HISTORY, "").splitlines()

    def _now(self) -> tuple[str, str]:
        found = self._kubectl.get("configmap", CONFIG)
        if found is None:
            raise NotFoundError(
                f"Expected {self.name} in {self.cluster}. Received: none. Apply an overlay first, "
                "such as make k8s-apply OVERLAY=staging, or name another --namespace or --context."
            )
        text = found.get("data", {}).get(KEY)
        if text is None:
            raise InputError(
                f"Expected {KEY} in {self.name}. Received: "
                f"{', '.join(found.get('data', {})) or 'nothing'}. Apply the overlay again."
            )
        return text, found["metadata"]["resourceVersion"]

    def _patch(self, text: str) -> str:
        patch = {"metadata": {"resourceVersion": self._version}, "data": {KEY: text}}
        return self._kubectl.run(
            "patch",
            "configmap",
            CONFIG,
            "--type=merge",
            f"--patch={json.dumps(patch)}",
            f"--field-manager={FIELD_MANAGER}",
            "--output=jsonpath={.metadata.resourceVersion}",
        )

    def _edited(self, received: str) -> EditedMeanwhileError:
        return EditedMeanwhileError(
            f"Expected {self.name} as it was read a moment ago. Received: {received}. "
            "Somebody edits it; look at it, and start again."
        )

    def _rollouts(self) -> tuple[dict[str, str], str | None]:
        found = self._kubectl.get("configmap", ROLLOUTS)
        if found is None:
            return {}, None
        return found.get("data", {}), found["metadata"]["resourceVersion"]

    def _write_rollouts(self, changed: dict[str, str | None], line: str = "") -> None:
        """Changes some of it, and adds a line to the history, by one write."""
        data, version = self._rollouts()
        if line:
            history = _recent([*data.get(_HISTORY, "").splitlines(), line])
            changed = {**changed, _HISTORY: history}
        if version is None:
            new = {key: text for key, text in changed.items() if text is not None}
            metadata = {"name": ROLLOUTS, "labels": LABELS}
            self._kubectl.put(
                "create",
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": new},
            )
            return
        patch = {"metadata": {"resourceVersion": version}, "data": changed}
        self._kubectl.run(
            *("patch", "configmap", ROLLOUTS, "--type=merge", "--patch-file=/dev/stdin"),
            f"--field-manager={FIELD_MANAGER}",
            stdin=json.dumps(patch),
        )


def _recent(lines: list[str]) -> str:
    """As many of the last lines as fit."""
    size = 0
    for at in range(len(lines) - 1, -1, -1):
        size += len(lines[at].encode()) + 1
        if size > _HISTORY_BYTES:
            lines = lines[at + 1 :]
            break
    return "".join(f"{line}\n" for line in lines)
