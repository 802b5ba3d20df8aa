"""The split: weights and a key to a label, by a formula that other languages can follow.

A key is bytes: a text in UTF-8, an integer in decimal (7, "7" and b"7" are one key). n(x) is the
length of x in 4 bytes, big-endian, and then x in UTF-8. H(x) is the first 8 bytes of
BLAKE2b-512(x), as b2sum and OpenSSL have it (no key, no salt). K(x) is the same with a key, as
OpenSSL's BLAKE2BMAC has it: BLAKE2b-512 of the router's secret. Who does not know that cannot find
out a caller's key from a unit by trying.

    unit         = K(n("unit") + n(experiment) + key), in hexadecimal
    h(label)     = H(n("label") + n(experiment) + n(label) + key), a big-endian integer
    u(label)     = ((h(label) >> 12) + 0.5) / 2**52, which is above 0 and below 1
    score(label) = -ln(u(label)) / weight(label)

The label with the least score wins, among those with a weight above 0; of equal scores, the first
label by code point. This is weighted rendezvous hashing: scores are exponential variables, and the
least of them is a label's with the probability of its weight over the sum of all. A score depends
on its own label alone: when weights change, a key moves only to a label whose weight grew against
the others', never between two others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import numbers
import os
import time
import types
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from tfs_client import contract
from tfs_client.errors import RequestError

YOUNG_NS: Final = 2 * 10**9
"""A file that changed within this time may change again with the same time stamp: clocks of file
systems tick every few milliseconds (FAT's: every two seconds)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assignment:
    """The label of one key."""

    experiment: str
    label: str
    unit: str
    """The key's pseudonym in this experiment, 16 hex digits: logs hold it in place of the key. It
    is the same wherever the router's secret is; without that nobody can compute it."""
    killed: bool
    """Whether the kill switch moved this key to the control."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """Weights, control and killed labels at one moment. Immutable: threads may use one split while
    another is put in its place.

    Raises:
        RequestError: a name is empty, a weight is not a finite number of 0 or more, none is above
            0, or the control or a killed label is not among the labels, or the control is killed.
    """

    experiment: str
    weights: Mapping[str, float]
    """Label → weight; only their proportions count."""
    control: str
    """The label that gets the keys of killed labels."""
    killed: Collection[str] = frozenset()
    hash_key: bytes = dataclasses.field(default=b"", repr=False, compare=False)
    """Of the pseudonyms; see secret.py."""
    _unit: Any = dataclasses.field(init=False, repr=False, compare=False)
    _arms: Any = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        experiment = _framed("an experiment", self.experiment)
        if not isinstance(self.weights, Mapping):
            raise RequestError(
                f"Expected weights by label. Received: weights={self.weights!r}; "
                'give a mapping such as {"stable": 90, "canary": 10}'
            )
        given = dict(self.weights)
        framed = {label: _framed("a label", label) for label in given}
        weights = {label: _number(f"the weight of {label!r}", given[label]) for label in given}
        if not any(weights.values()):
            raise RequestError(
                f"Expected a weight above 0. Received: weights={weights!r}; give one to a label"
            )
        if self.control not in tuple(weights):
            raise RequestError(
                f"Expected the control among the labels {', '.join(sorted(weights))}. "
                f"Received: control={self.control!r}; give it a weight (0 is one), or name another"
            )
        for label in self.killed:
            if label == self.control or label not in tuple(weights):
                others = ", ".join(sorted(weights.keys() - {self.control})) or "there is none"
                raise RequestError(
                    f"Expected labels to kill other than the control {self.control!r}: {others}. "
                    f"Received: {label!r}; set the control's weight to 0 if nobody may get it"
                )
        # By a power of two, which is exact: no score can overflow, and no comparison changes.
        exponent = math.frexp(max(weights.values()))[1]
        scaled = {label: math.ldexp(weight, -exponent) for label, weight in weights.items()}
        arms = tuple(
            (label, scaled[label], _hash(_framed("", "label") + experiment + framed[label]))
            for label in sorted(weights)
            if scaled[label] > 0
        )
        object.__setattr__(self, "weights", types.MappingProxyType(weights))
        object.__setattr__(self, "killed", frozenset(self.killed))
        object.__setattr__(self, "_unit", _hash(_framed("", "unit") + experiment, self.hash_key))
        object.__setattr__(self, "_arms", arms)

    def __str__(self) -> str:
        return (
            f"experiment={self.experiment!r} weights={dict(self.weights)} "
            f"control={self.control!r} killed={sorted(self.killed)}"
        )

    def assign(self, key: str | bytes | int) -> Assignment:
        """The label of a key; as Router.assign."""
        raw = _key_bytes(key)
        unit = self._unit.copy()
        unit.update(raw)
        chosen, least = self.control, math.inf
        for label, weight, prefix in self._arms:
            digest = prefix.copy()
            digest.update(raw)
            number = int.from_bytes(digest.digest()[:8], "big") >> 12
            score = -math.log((number + 0.5) / 2**52) / weight
            if score < least:
                chosen, least = label, score
        killed = chosen in self.killed
        return Assignment(
            experiment=self.experiment,
            label=self.control if killed else chosen,
            unit=unit.hexdigest()[:16],
            killed=killed,
        )


def _hash(prefix: bytes, key: bytes = b"") -> Any:
    return hashlib.blake2b(prefix, key=key, usedforsecurity=False)


def _framed(what: str, text: object) -> bytes:
    """n(text) of the module's formula; refuses an empty text, and what is no text."""
    if isinstance(text, str) and text:
        with contextlib.suppress(UnicodeEncodeError):
            raw = text.encode()
            return len(raw).to_bytes(4, "big") + raw
    raise RequestError(f"Expected {what} with a name. Received: {text!r}; give it a text")


def _number(what: str, value: object) -> float:
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            number = float(value)
            if 0 <= number < math.inf:
                return number
    raise RequestError(
        f"Expected {what} to be 0 or more. Received: {value!r:.60}; give it a finite number"
    )


def _key_bytes(key: object) -> bytes:
    """The key as bytes. An error never quotes the key, which may be a user's id."""
    with contextlib.suppress(ValueError):  # no UTF-8 (half a surrogate pair), no decimal (too long)
        if isinstance(key, int) and not isinstance(key, bool):
            return str(int(key)).encode()
        raw = key.encode() if isinstance(key, str) else key
        if isinstance(raw, bytes) and raw:
            return raw
    raise RequestError(
        "Expected a key that is a str, bytes or int, and not empty. "
        f"Received: one of type {type(key).__name__}; give what identifies the caller"
    )


class SplitFile:
    """A JSON file that holds a split, read again when it looks different."""

    split: Split
    """The last good one."""

    def __init__(self, path: str | os.PathLike[str], poll_s: float):
        self.path = Path(path).absolute()
        self._poll_s = _number("poll_s", poll_s)
        self._seen: tuple[int, int, int] | None = None
        self._content: bytes | str | None = None
        self.changed()

    def changed(self) -> bool:
        """Reads the file if its time stamp, size or inode differ; whether `split` has changed.

        Raises:
            RequestError: it has become unreadable or wrong; once for the same fault.
        """
        self.next_s = time.monotonic() + self._poll_s
        content: bytes | str
        try:
            stat = self.path.stat()
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen == self._seen:
                return False
            content = self.path.read_bytes()
            self._seen = seen if time.time_ns() - stat.st_mtime_ns > YOUNG_NS else None
        except OSError as exc:
            content, self._seen = exc.strerror or str(exc), None
        if content == self._content:
            return False
        self._content = content
        if isinstance(content, str):
            raise RequestError(
                f"Expected a file with a split. Received: path={str(self.path)!r} ({content}); "
                "write it there, or give another path"
            )
        try:
            self.split = _split_in(content)
        except RequestError as exc:
            raise RequestError(f"{self.path}: {exc}") from exc
        return True


def _split_in(content: bytes) -> Split:
    try:
        settings = json.loads(content, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as exc:
        raise RequestError(
            f"Expected JSON. Received: {exc.msg} at line {exc.lineno}, column {exc.colno}; "
            "correct it there"
        ) from exc
    except (ValueError, RecursionError) as exc:
        raise RequestError(f"Expected JSON in UTF-8. Received: {exc}; correct it") from exc
    if not isinstance(settings, dict):
        raise RequestError(f"Expected a JSON object. Received: {settings!r:.80}; put it in {{}}")
    known = ("experiment", "weights", "control", "killed")
    wrong = [f"{key!r}, which is unknown" for key in settings if key not in known]
    wrong += [f"no {key!r}" for key in known[:2] if key not in settings]
    if wrong:
        raise RequestError(
            f"Expected the keys experiment and weights, and perhaps control and killed. "
            f"Received: {', '.join(wrong)}; correct the spelling"
        )
    if not isinstance(settings.get("killed", []), list):
        raise RequestError(
            "Expected a list of labels to kill. "
            f"Received: killed={settings['killed']!r}; put the labels in []"
        )
    return Split(**{"control": contract.LABEL_STABLE, **settings})


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; refuses a key that is there twice, of which one value would be lost."""
    kept = dict(pairs)
    if len(kept) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{max(keys, key=keys.count)!r} twice in one object")
    return kept
