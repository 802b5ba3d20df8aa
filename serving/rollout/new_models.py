"""Models that are new to a server: is there a version to load?

A server that is told of a new model waits without limit for its first version, and takes no other
configuration until then: one base_path without versions holds up every later rollout.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Final

from foundation.command_line import InputError
from serving import models_config
from serving.fleet.fleet import Fleet
from serving.models_config import Model, ModelsConfig, Specific
from serving.rollout.states import Plan

_log = logging.getLogger("serving.rollout")

_AGAIN_S: Final = 0.5
"""Seconds between two looks at servers that have still to read the file."""


def look(
    config: ModelsConfig,
    plan: Plan,
    fleet: Fleet,
    *,
    model: str,
    store: Path | None,
    polls_for_s: float | None,
    place: str,
) -> None:
    """Refuses models that are new to a server, and of which there is no version to load.

    A rollback is warned, not refused: there may be servers that can follow.

    Args:
        config: what the servers are told, or have read.
        plan: what is about to be done.
        fleet: all servers.
        model: the one that the plan is about.
        store: as this machine sees it; None where it does not.
        polls_for_s: seconds to wait for servers that read the file by themselves; None where they
            are told, after this.
        place: of models.config, in messages.

    Raises:
        InputError: names the model, the servers, and what to do.
    """
    models = {one.name: one for one in config.models}
    if plan.verb != "apply":  # other verbs ask the labels of their own model
        models.pop(model, None)
    patient = plan.verb == "rollback"
    unknown = fleet.unknown(models)
    if polls_for_s is not None and not patient:
        end = time.monotonic() + polls_for_s
        while unknown and time.monotonic() < end:
            time.sleep(_AGAIN_S)
            unknown = fleet.unknown(models)
    for name, servers in unknown.items():
        there = _versions(models[name], store)
        if polls_for_s is None and there is None:
            _log.warning(
                "%s is new to %s: if no version of it lies under %s there, the server waits for "
                "one without limit, and takes no other configuration until then",
                *(name, ", ".join(servers), models[name].base_path),
            )
            continue
        if polls_for_s is None and there and _loads(models[name], there):
            continue
        received = f"versions {', '.join(map(str, sorted(there)))}" if there else "none"
        text = (
            f"Expected a version of {name} to load under {models[name].base_path}/, for it is new "
            f"to {', '.join(servers)}. Received: {received}. A server waits without limit for the "
            "first version of a new model, and takes no other configuration until then. Put one "
            f"there, or take {name} out of {place}."
        )
        if not patient:
            raise InputError(text)
        _log.warning("%s", text)


def _loads(model: Model, there: set[int]) -> bool:
    """Whether a server would load one of the versions that are there."""
    return not isinstance(model.policy, Specific) or bool(there.intersection(model.policy.versions))


def _versions(model: Model, store: Path | None) -> set[int] | None:
    """The versions in the store; None where this machine does not see it."""
    if store is None or not store.is_dir():
        return None
    try:
        folder = models_config.folder_of(model, store)
    except InputError:
        return None
    if not folder.is_dir():
        return set()
    return {int(one.name) for one in folder.iterdir() if one.name.isdigit() and one.is_dir()}
