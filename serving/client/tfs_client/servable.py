"""Whom to ask: one version of one model, by label, by number, or the latest."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Protocol

import numpy as np

from tfs_client import contract
from tfs_client.errors import RequestError


class HasCore(Protocol):
    """An open Client or AsyncClient, as far as a Servable needs one."""

    @property
    def core(self) -> Any:
        """What asks; a call.core.Core."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Servable:
    """One version of one model: a fallback of a call, say, or what a shadow asks.

    With neither label nor version it is the server's latest version.

    Raises:
        RequestError: no model, an empty label, a version that is no int, or both of them.
    """

    model: str = contract.MODEL_NAME
    label: str | None = None
    version: int | None = None
    signature: str | None = None
    """None means the call's own."""
    timeout_s: float | None = None
    """Longest time to wait for it, in seconds; None means an equal part of the time that is left
    for it and all fallbacks after it."""
    client: HasCore | None = None
    """Another server's Client, or AsyncClient where an AsyncClient is asked; None means the client
    that is asked."""

    name: str = dataclasses.field(init=False, repr=False, compare=False)
    """As in TensorFlow Serving's REST paths: "image_classifier/labels/stable", "…/versions/2", or
    the model's name alone."""

    def __post_init__(self) -> None:
        """Checks the fields, and makes the name."""
        check(self.model, self.label, self.version)
        name = self.model
        if self.label is not None:
            name += f"/labels/{self.label}"
        elif self.version is not None:
            name += f"/versions/{self.version}"
        object.__setattr__(self, "name", name)

    def __str__(self) -> str:
        """Its name."""
        return self.name


def servable(model: str, label: str | None, version: int | None) -> Servable:
    """The Servable of a call's arguments. It is made once: calls are many and servables few.

    Raises:
        RequestError: as Servable.
    """
    try:
        return _made(model, label, version)
    except TypeError:  # not hashable: for Servable to refuse
        return Servable(model=model, label=label, version=version)


@functools.lru_cache(maxsize=1024, typed=True)  # typed: True is not version 1
def _made(model: str, label: str | None, version: int | None) -> Servable:
    return Servable(model=model, label=label, version=version)


def check(model: str, label: str | None, version: int | None) -> None:
    """Refuses arguments that cannot name a version.

    Raises:
        RequestError: no model, an empty label, a version that is no int, or both of them.
    """
    if not isinstance(model, str) or not model:
        raise RequestError(f"Expected model as the servable's name. Received: model={model!r}")
    if label is not None and version is not None:
        raise RequestError(
            f"Expected a label or a version. Received: label={label!r} and version={version!r}; "
            "give one of them"
        )
    if label is not None and (not isinstance(label, str) or not label):
        raise RequestError(f"Expected label as a name such as 'stable'. Received: label={label!r}")
    try:
        f"{model}{label or ''}".encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            f"Expected model and label as text that UTF-8 has. Received: {error}"
        ) from error
    if version is not None:
        whole = isinstance(version, (int, np.integer)) and not isinstance(version, bool)
        if not whole or not -(2**63) <= version < 2**63:
            raise RequestError(f"Expected version as a whole number. Received: version={version!r}")
