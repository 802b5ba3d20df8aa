"""The states that each verb leads through, each of them legal; pure functions of the present state.

A state is what models.config says of one model: the versions that are served, and the labels. The
rules are TensorFlow Serving's: a label may only point at a version that is loaded. So a version is
listed, and loaded, before a label moves to it; and no label points at it when it is taken off.

The verbs move three labels, and leave all others where they are:

    stable     what production asks for
    canary     the version on trial; the stable one where there is no trial
    previous   what a rollback goes back to; the stable one where there is nothing to go back to

A label that exists is never removed: requests for a missing label fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from foundation.command_line import InputError, one_line
from serving.models_config import Model, ModelsConfig, Specific
from tfs_client.contract import LABEL_CANARY, LABEL_PREVIOUS, LABEL_STABLE


@dataclass(frozen=True, kw_only=True)
class State:
    """What is served of one model."""

    versions: tuple[int, ...]
    """Ascending."""
    labels: Mapping[str, int]

    def __hash__(self) -> int:
        return hash((self.versions, tuple(self.labels.items())))

    @property
    def stable(self) -> int:
        """The version that production asks for."""
        return self.labels[LABEL_STABLE]

    @property
    def canary(self) -> int | None:
        """The version on trial, None where there is none."""
        version = self.labels.get(LABEL_CANARY)
        return None if version == self.stable else version

    @property
    def previous(self) -> int | None:
        """The version to go back to, None where there is none."""
        version = self.labels.get(LABEL_PREVIOUS)
        return None if version == self.stable else version

    @property
    def unlabelled(self) -> tuple[int, ...]:
        """Versions that are loaded, and that no label points at."""
        return tuple(version for version in self.versions if version not in self.labels.values())

    def pointing(self, **labels: int) -> State:
        """The same versions with these labels moved."""
        return replace(self, labels=dict(sorted({**self.labels, **labels}.items())))

    def as_json(self) -> dict[str, Any]:
        """For the history."""
        return {"versions": list(self.versions), "labels": dict(self.labels)}

    def __str__(self) -> str:
        versions = ", ".join(str(version) for version in self.versions)
        return f"versions {versions}; {arrows(self.labels)}"


def words(verb: str, version: int | None) -> str:
    """A verb and the version that it is about."""
    if version is None:
        return verb
    return f"{verb} of {version}" if verb == "rollback" else f"{verb} {version}"


def arrows(labels: Mapping[str, int | None], separator: str = ", ") -> str:
    """Labels in words, those of the rollout first; "?" for one that does not answer."""
    ours = [label for label in (LABEL_STABLE, LABEL_CANARY, LABEL_PREVIOUS) if label in labels]
    ordered = dict.fromkeys([*ours, *sorted(labels)])
    return separator.join(f"{one_line(label)} → {labels[label] or '?'}" for label in ordered)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a verb does."""

    verb: str
    version: int | None
    """The version that the verb is about."""
    start: State
    end: State
    says: str
    """In a sentence, what is different afterwards."""
    gate: str = ""
    """The gate's verdict, for the history."""
    why: str = ""
    """The reason for the change, for the history."""

    @property
    def words(self) -> str:
        """The verb with its version, such as "canary 2"."""
        return words(self.verb, self.version)

    @property
    def states(self) -> tuple[State, ...]:
        """The present one and those that follow; one alone where nothing is to be done."""
        return path(self.start, self.end)

    def judged(self, objection: str, *, force: bool) -> Plan:
        """The same plan with the verdict of the gate.

        Args:
            objection: of the gate; empty where it lets the version through.
            force: put it on trial although the gate objects.

        Raises:
            InputError: the gate objects, and `force` is not set.
        """
        if not objection:
            return replace(self, gate="passed")
        if not force:
            raise InputError(
                f"Expected a version that has passed the gate. Received: {objection}. Run: make "
                f'gate VERSION={self.version} ARGS="--against {self.start.stable}" (to pass over '
                "it, give --force with --why)."
            )
        return replace(self, gate=f"passed over: {objection}")


def path(start: State, end: State) -> tuple[State, ...]:
    """The legal way from one state to another: load, then move the labels, then unload."""
    both = tuple(sorted({*start.versions, *end.versions}))
    loaded = replace(start, versions=both)
    return tuple(dict.fromkeys((start, loaded, replace(end, versions=both), end)))


class NothingToDoError(InputError):
    """A verb that makes no sense in the present state; says which one does."""


def read(config: ModelsConfig, name: str) -> State:
    """The state of a model.

    Raises:
        InputError: the model is not listed, its versions are not listed one by one, a label points
            at none of them, or there is no stable one; says what to write.
    """
    try:
        model = config.model(name)
    except KeyError:
        listed = ", ".join(model.name for model in config.models) or "none"
        raise InputError(
            f"Expected the model {name} in models.config. Received: {listed}. "
            "Name another one with --model, or add its config { … } entry."
        ) from None
    if not isinstance(model.policy, Specific):
        raise InputError(
            f"Expected the versions of {name} listed one by one. Received: another policy, under "
            "which versions come and go by themselves. Write, for example, "
            "model_version_policy { specific { versions: 1 } }"
        )
    versions = tuple(sorted(model.policy.versions))
    for label, version in model.labels.items():
        if version not in versions:
            raise InputError(
                f"Expected label {label} of {name} on a version that is served: "
                f"{', '.join(map(str, versions)) or 'there is none'}. Received: {version}. "
                f"Add versions: {version} to its policy, or move the label."
            )
    if LABEL_STABLE not in model.labels:
        raise InputError(
            f"Expected a label {LABEL_STABLE} of {name}. Received: "
            f"{', '.join(model.labels) or 'no labels'}. Write, for example, "
            f'version_labels {{ key: "{LABEL_STABLE}" value: {versions[0] if versions else 1} }}'
        )
    return State(versions=versions, labels=dict(sorted(model.labels.items())))


def write(config: ModelsConfig, name: str, state: State) -> ModelsConfig:
    """The configuration with a model in another state; all else stays."""

    def changed(model: Model) -> Model:
        if model.name != name:
            return model
        return replace(model, policy=Specific(state.versions), labels=dict(state.labels))

    return replace(config, models=tuple(changed(model) for model in config.models))


def canary(now: State, version: int) -> Plan:
    """Puts a version on trial: list it, wait until it is loaded, point the label at it.

    Raises:
        NothingToDoError: it is the stable one.
    """
    if version == now.stable:
        raise NothingToDoError(
            f"Expected a version other than the stable one. Received: {version}. "
            "Export another one: make train export AGAIN=1"
        )
    versions = tuple(sorted({*now.versions, version}))
    return Plan(
        verb="canary",
        version=version,
        start=now,
        end=replace(now, versions=versions).pointing(canary=version),
        says=f"version {version} is on trial beside {now.stable}",
    )


def promote(now: State) -> Plan:
    """Makes the version on trial the stable one; the version before stays loaded for a rollback.

    Raises:
        NothingToDoError: none is on trial.
    """
    if now.canary is None:
        ready = f": {now.unlabelled[-1]}, say" if now.unlabelled else ""
        raise NothingToDoError(
            f"Expected a version on trial, beside stable → {now.stable}. Received: none. "
            f"Put one on trial first: canary N{ready}"
        )
    after = now.pointing(stable=now.canary, previous=now.stable)
    return Plan(
        verb="promote",
        version=now.canary,
        start=now,
        end=after,
        says=f"version {now.canary} is stable; {now.stable} stays loaded, to go back to",
    )


def rollback(now: State, to: int | None = None) -> Plan:
    """Ends the trial, or goes back to the version that was stable before. Nothing has to be loaded.

    Args:
        now: the present state.
        to: go to this version in any case; it must be served.

    Raises:
        NothingToDoError: nothing is on trial, and there is nothing to go back to.
        InputError: `to` is not served.
    """
    if to is not None and to not in now.versions:
        raise InputError(
            "Expected a version that is loaded: "
            f"{', '.join(map(str, now.versions))}. Received: --to {to}. A rollback must not wait "
            "for a version to load: canary and promote do that."
        )
    if to is None and now.canary is not None:
        left, after = now.canary, now.pointing(canary=now.stable)
        says = f"the trial of {left} has ended; stable stays {now.stable}"
        if now.previous is not None:
            says += f" (once more goes back to {now.previous})"
    else:
        to = now.previous if to is None else to
        if to is None or (to == now.stable and now.canary is None):
            others = [version for version in now.versions if version != now.stable]
            raise NothingToDoError(
                f"Expected a version on trial, or one to go back to from stable → {now.stable}. "
                "Received: neither. "
                + (
                    f"Loaded beside it: {', '.join(map(str, others))}; name it with --to N."
                    if others
                    else "No other version is loaded."
                )
            )
        left = now.canary if to == now.stable and now.canary is not None else now.stable
        after = now.pointing(stable=to, canary=to, previous=to)
        says = f"stable is {to} again" if to != now.stable else f"the trial of {left} has ended"
    return Plan(verb="rollback", version=left, start=now, end=after, says=says)


def apply(now: State) -> Plan:
    """Changes nothing in the file; it brings every server to what the file says."""
    return Plan(verb="apply", version=None, start=now, end=now, says="all is served as it says")


def retire(now: State, version: int) -> Plan:
    """Unloads a version that no label needs.

    Raises:
        InputError: it is not served, or a label that callers ask for points at it.
    """
    if version not in now.versions:
        raise NothingToDoError(
            f"Expected a version that is served: {', '.join(map(str, now.versions))}. "
            f"Received: {version}. There is nothing to unload."
        )
    labels = [label for label, at in now.labels.items() if at == version]
    holding = [label for label in labels if label != LABEL_PREVIOUS]
    if holding:
        advice = {
            LABEL_STABLE: "Make another one stable first: promote, or rollback.",
            LABEL_CANARY: "End its trial first: rollback.",
        }.get(holding[-1], "Move that label in models.config first.")
        raise InputError(
            f"Expected a version that no label needs. Received: {version}, and "
            f"{' and '.join(holding)} point at it. {advice}"
        )
    left = tuple(one for one in now.versions if one != version)
    end = replace(now.pointing(previous=now.stable) if labels else now, versions=left)
    says = f"version {version} is unloaded"
    if labels:
        says += "; there is nothing to go back to any more"
    return Plan(verb="retire", version=version, start=now, end=end, says=says)
