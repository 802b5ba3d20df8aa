"""Deals callers to labels: a sticky, weighted split with a kill switch, and a log of who got what.

    router = Router.from_file("split.json", on_exposure=ExposureLog("exposures.jsonl"))
    label = router.assign(order_id).label

Other languages can deal the same way. A key is bytes: a text in UTF-8, an integer in decimal (7,
"7" and b"7" are one key). With n(x) = the length of x in 4 bytes, big-endian, and then x in UTF-8,
and H(x) = the first 8 bytes of BLAKE2b-512(x), as b2sum and OpenSSL have it (no key, no salt):

    unit         = H(n("unit") + n(experiment) + key), in hexadecimal
    h(label)     = H(n("label") + n(experiment) + n(label) + key), a big-endian integer
    u(label)     = ((h(label) >> 12) + 0.5) / 2**52, which is above 0 and below 1
    score(label) = -ln(u(label)) / weight(label)

The least score among the labels with a weight above 0 wins; of equal ones, the first by code point.
This is weighted rendezvous hashing: the least of exponential variables, so a label's share is its
weight over the sum of all. A score depends on nothing but its own label: a key moves only to a
label whose weight grew against the others', never between two others.

Knows nothing about models, servers or calls: what a label means is the caller's business.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import math
import numbers
import os
import threading
import time
import types
import weakref
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

from tfs_client import contract
from tfs_client.errors import RequestError

COMPLAINT_S: Final = 1.0
"""At least so long between two log lines about a failing on_exposure."""

ROTATION_CHECK_S: Final = 1.0
"""At least so long between two looks whether an exposure log was rotated away."""

YOUNG_NS: Final = 2 * 10**9
"""A file changed so recently may change again without looking different: clocks of file systems
tick every few milliseconds (FAT's: every two seconds)."""

_log = logging.getLogger(__name__)

# --- who gets what --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assignment:
    """Where one key belongs."""

    experiment: str
    label: str
    unit: str
    """The key's pseudonym in this experiment, 16 hex digits: what logs hold in place of the key.
    Whoever can guess keys can compute it."""
    killed: bool
    """The kill switch moved this key to the control."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """Who gets what at one moment. Immutable: threads deal from one while another is put in place.

    Raises:
        RequestError: a name is empty, a weight is not a finite number of 0 or more, none is above
            0, or the control or a killed label is not among the labels, or the control is killed.
    """

    experiment: str
    weights: Mapping[str, float]
    """By label; only their proportions count."""
    control: str
    """The label that gets the keys of killed labels."""
    killed: Collection[str] = frozenset()
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
        object.__setattr__(self, "_unit", _hash(_framed("", "unit") + experiment))
        object.__setattr__(self, "_arms", arms)

    def __str__(self) -> str:
        return (
            f"experiment={self.experiment!r} weights={dict(self.weights)} "
            f"control={self.control!r} killed={sorted(self.killed)}"
        )

    def assign(self, key: str | bytes | int) -> Assignment:
        """As Router.assign."""
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


def _hash(prefix: bytes) -> Any:
    return hashlib.blake2b(prefix, usedforsecurity=False)


def _framed(what: str, text: object) -> bytes:
    """n(text) of the module's formula; refuses what is not a text, or empty."""
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
    """Never repeats the key in an error: logs hold no user ids."""
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


# --- the file -------------------------------------------------------------------------------------


class _SplitFile:
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
        """Reads the file if it looks different; whether `split` is another one now.

        Raises:
            RequestError: it has become unreadable or wrong; only once for the same fault.
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
    """A JSON object; refuses what would silently lose one of two values."""
    kept = dict(pairs)
    if len(kept) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{max(keys, key=keys.count)!r} twice in one object")
    return kept


# --- the router -----------------------------------------------------------------------------------


class Router:
    """Assigns keys to labels, the same way in every process. Any thread may call any method.

    Args:
        weights: label to weight, finite and 0 or more, at least one above 0.
        experiment: its name; another name deals everybody anew, independently of this one.
        control: the label that gets the keys of killed labels.
        on_exposure: called by `expose`, in the caller's thread; an ExposureLog, say.

    Raises:
        RequestError: as Split says.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        *,
        experiment: str,
        control: str = contract.LABEL_STABLE,
        on_exposure: Callable[[Exposure], None] | None = None,
    ):
        # What was asked for, and the same with the labels killed by code: the one that deals.
        self._asked = self._split = Split(experiment=experiment, weights=weights, control=control)
        self._killed: frozenset[str] = frozenset()
        self._file: _SplitFile | None = None
        self._on_exposure = on_exposure
        self._complained_s = -math.inf
        self._silenced = 0
        # Re-entrant, because a log handler may react to a line by killing a label.
        self._lock = threading.RLock()
        _LOCKED.add(self)

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        poll_s: float = 1.0,
        on_exposure: Callable[[Exposure], None] | None = None,
    ) -> Router:
        """A router that follows a JSON file; `assign` looks at it, there is no thread.

            {"experiment": "e", "weights": {"stable": 90, "canary": 10},
             "control": "stable", "killed": ["canary"]}

        "control" and "killed" may be left out. Write the file aside and rename it into place: one
        that is read half-written is refused, with a logged error, until it is whole. While it is
        missing or wrong, the last good split stays.

        Args:
            path: the file.
            poll_s: at least so many seconds between two looks.
            on_exposure: as for the class.

        Raises:
            RequestError: the file is missing or wrong now.
        """
        file = _SplitFile(path, poll_s)
        found = file.split
        router = cls(
            found.weights,
            experiment=found.experiment,
            control=found.control,
            on_exposure=on_exposure,
        )
        router._file = file
        router._asked = router._split = found
        return router

    @property
    def split(self) -> Split:
        """What deals now."""
        self._poll()
        return self._split

    def assign(self, key: str | bytes | int) -> Assignment:
        """The label of a key: always the same one, while weights and kill switch stay.

        Args:
            key: who must stay on one side: a user, a camera, an order. 7, "7" and b"7" are the same
                key; texts are taken as they are ("é" has two spellings in Unicode).

        Raises:
            RequestError: the key is empty or of another type (None and bool are).
        """
        if self._file is not None:
            self._poll()
        return self._split.assign(key)

    def kill(self, *labels: str) -> None:
        """Sends everybody who belongs to these labels to the control; nobody else moves.

        Without labels: all but the control. Works on a router with a file too, in addition to what
        the file kills, and lasts until `revive`, whatever the file or set_weights say: a file that
        makes a label the control that was killed here is refused until then.

        Raises:
            RequestError: a label is unknown, or the control; then none of them is killed.
        """
        with self._lock:
            self._look()
            wanted = labels or tuple(self._asked.weights.keys() - {self._asked.control})
            dataclasses.replace(self._asked, killed=wanted)  # refuses what cannot be killed
            self._killed |= frozenset(wanted)
            self._settle(self._asked, logging.WARNING, "killed by code")

    def revive(self, *labels: str) -> None:
        """Takes back `kill` for these labels; without labels, for all.

        Raises:
            RequestError: a label is unknown, or killed by the file alone; then none is revived.
        """
        with self._lock:
            self._look()
            for label in labels:
                if label in tuple(self._killed):
                    continue
                if label not in tuple(self._asked.weights):
                    known = ", ".join(sorted({*self._asked.weights, *self._killed}))
                    raise RequestError(
                        f"Expected labels to revive among {known}. Received: {label!r}; name those"
                    )
                if self._file is not None and label in self._asked.killed:
                    raise RequestError(
                        f"Expected a label that was killed by code. Received: {label!r}, which "
                        f"{self._file.path} kills; edit that file"
                    )
            self._killed = self._killed.difference(labels or self._killed)
            asked = self._asked if self._file is None else self._file.split
            if asked.control in self._killed:  # still, so that the file's is refused as before
                asked = self._asked
            self._settle(asked, logging.INFO, "revived by code")

    def set_weights(self, weights: Mapping[str, float]) -> None:
        """Puts other weights (and labels) in place of all the present ones, at once.

        Raises:
            RequestError: as Split says, or the weights belong to a file; nothing has changed.
        """
        if self._file is not None:
            raise RequestError(
                f"Expected the weights from {self._file.path}. "
                f"Received: set_weights({weights!r}); edit that file"
            )
        with self._lock:
            asked = dataclasses.replace(self._asked, weights=weights)
            self._settle(asked, logging.INFO, "set by code")

    def expose(self, exposure: Exposure) -> None:
        """Hands an exposure to on_exposure, if there is one; logs its errors and never raises."""
        if self._on_exposure is None:
            return
        try:
            self._on_exposure(exposure)
        except Exception:
            with self._lock:
                if time.monotonic() < self._complained_s + COMPLAINT_S:
                    self._silenced += 1
                    return
                self._complained_s = time.monotonic()
                silenced, self._silenced = self._silenced, 0
            _log.exception("on_exposure failed (and %d times since the last line)", silenced)

    def _poll(self) -> None:
        """Looks at the file if it is time to; never waits for another thread that does."""
        now = time.monotonic()
        if self._file is None or now < self._file.next_s or not self._lock.acquire(blocking=False):
            return
        try:
            if now >= self._file.next_s:
                self._look()
        finally:
            self._lock.release()

    def _look(self) -> None:
        """Takes over what the file says now. The lock is held."""
        if self._file is None:
            return
        try:
            if not self._file.changed():
                return
        except RequestError as error:
            _log.error("%s. The last good split stays: %s", error, self._split)
            return
        asked = self._file.split
        if asked.control in self._killed:
            _log.error(
                "%s: Expected a control that was not killed by code. Received: %r; revive it, or "
                "name another. The last good split stays: %s",
                *(self._file.path, asked.control, self._split),
            )
            return
        anew = asked.experiment != self._asked.experiment
        told = "another experiment, everybody is dealt anew" if anew else "changed"
        level = logging.WARNING if anew else logging.INFO
        self._settle(asked, level, f"{self._file.path} {told}")

    def _settle(self, asked: Split, level: int, why: str) -> None:
        """Puts a split in place, with the labels that code killed. The lock is held."""
        here = self._killed & asked.weights.keys()
        old, new = self._split, dataclasses.replace(asked, killed={*asked.killed, *here})
        self._asked, self._split = asked, new
        _log.log(level, "split %s: %s -> %s", why, old, new)


# --- who met what ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exposure:
    """One unit has met one label: what a comparison of the labels counts."""

    experiment: str
    unit: str
    label: str
    """The label that was assigned."""
    answered_by: str
    """Who answered, such as "image_classifier/labels/canary" or "default"."""
    model: str
    version: int
    """0 if no version answered."""
    request_id: str
    time_s: float
    """Unix time in seconds."""
    latency_s: float
    error: str
    """Empty, or the class name of the error if nobody answered."""
    needs_review: bool | None


class ExposureLog:
    """Appends exposures to a file, one line of JSON each; to be used as a Router's on_exposure.

    Threads and processes may share the file, also across a fork: a line is one write to its end,
    which local file systems keep whole (NFS does not). A file that was rotated away is left within
    a second. Whoever makes a log closes it, perhaps with `with`.

    Args:
        path: the file; made if it is missing.

    Raises:
        RequestError: the folder is missing, or the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self._path = Path(path).absolute()
        try:
            self._file = self._open()
        except OSError as exc:
            raise RequestError(
                "Expected a file to append to. Received: "
                f"path={str(self._path)!r} ({exc.strerror}); make its folder, or give another path"
            ) from exc
        self._checked_s = time.monotonic()
        self._start = b""
        self._lock = threading.RLock()
        _LOCKED.add(self)

    def __call__(self, exposure: Exposure) -> None:
        """Writes one line.

        Raises:
            RequestError: the log is closed, or a value has no place in JSON, such as NaN.
            OSError: the line could not be written, or the rotated file not opened anew.
        """
        try:
            text = json.dumps(vars(exposure), separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError) as exc:
            raise RequestError(
                f"Expected values that JSON has. Received: {exposure} ({exc}); convert them"
            ) from exc
        with self._lock:
            if self._file.closed:
                raise RequestError(
                    f"Expected an open log. Received: one of {self._path} that was closed; "
                    "close it after its last exposure"
                )
            self._follow()
            line = self._start + text.encode() + b"\n"
            written = os.write(self._file.fileno(), line)
            # The rest of a line may not come later, after others' lines. So the torn one is ended.
            self._start = b"" if written == len(line) else b"\n"
        if written < len(line):
            raise OSError(
                f"Expected {len(line)} bytes to be written to {self._path}. "
                f"Received: {written}; is the disk full?"
            )

    def close(self) -> None:
        """Closes the file; closing twice is fine."""
        with self._lock:
            self._file.close()

    def __enter__(self) -> ExposureLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> Any:
        return self._path.open("ab", buffering=0)  # O_APPEND

    def _follow(self) -> None:
        """Opens the path anew if it is another file by now, or none. The lock is held."""
        now = time.monotonic()
        if now < self._checked_s + ROTATION_CHECK_S:
            return
        there = None
        with contextlib.suppress(FileNotFoundError):
            there = self._path.stat()
        if there is None or not os.path.samestat(there, os.fstat(self._file.fileno())):
            rotated, self._file, self._start = self._file, self._open(), b""
            rotated.close()
        self._checked_s = now


# --- forks ----------------------------------------------------------------------------------------

_LOCKED: Final[weakref.WeakSet[Router | ExposureLog]] = weakref.WeakSet()


def _renew_locks() -> None:
    """In the child of a fork: a thread that held a lock is not there to release it."""
    for owner in list(_LOCKED):
        owner._lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_renew_locks)
