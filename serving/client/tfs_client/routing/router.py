"""Assigns callers to labels: a sticky, weighted split with a kill switch, and an exposure log.

    router = Router.from_file("split.json", on_exposure=ExposureLog("exposures.jsonl"))
    label = router.assign(order_id).label

split.py has the formula, exposures.py the log. A label is a name here; what it points at is the
server's business.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping

from tfs_client import contract
from tfs_client.background.callbacks import Callback
from tfs_client.background.forks import renew_after_fork
from tfs_client.errors import RequestError
from tfs_client.routing.exposures import Exposure, ExposureLog
from tfs_client.routing.secret import Secret, hash_key
from tfs_client.routing.split import Assignment, Split, SplitFile

__all__ = ["Assignment", "Exposure", "ExposureLog", "Router", "Split"]

_log = logging.getLogger(__name__)


class Router:
    """Assigns keys to labels, the same way in every process. Any thread may call any method.

    Args:
        weights: label to weight, finite and 0 or more, at least one above 0.
        experiment: its name; under another name all keys are assigned anew and independently.
        control: the label that gets the keys of killed labels.
        on_exposure: called by `expose`, in the caller's thread; an ExposureLog, say.
        secret: makes pseudonyms of keys that nobody finds out by trying keys: at least 16 bytes, or
            the path of a file that holds them (made if it is missing). Processes with the same
            secret give a key the same pseudonym: give one where they write to different logs. None
            means a file beside the ExposureLog, and without one a secret of this router alone.

    Raises:
        RequestError: as Split says, or a secret that is too short or cannot be read.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        *,
        experiment: str,
        control: str = contract.LABEL_STABLE,
        on_exposure: Callable[[Exposure], None] | None = None,
        secret: Secret | None = None,
    ):
        # The split that was asked for, and the one in use: the same with the labels killed by code.
        asked = Split(experiment=experiment, weights=weights, control=control)
        self._hash_key = hash_key(_secret(on_exposure) if secret is None else secret)
        self._asked, self._split = asked, dataclasses.replace(asked, hash_key=self._hash_key)
        self._killed: frozenset[str] = frozenset()
        self._file: SplitFile | None = None
        self._on_exposure = Callback(on_exposure, "on_exposure")
        # Re-entrant, because a log handler may react to a line by killing a label.
        self._lock = threading.RLock()
        renew_after_fork(self)

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        poll_s: float = 1.0,
        on_exposure: Callable[[Exposure], None] | None = None,
        secret: Secret | None = None,
    ) -> Router:
        """A router that follows a JSON file. `assign` checks the file; there is no thread.

            {"experiment": "e", "weights": {"stable": 90, "canary": 10},
             "control": "stable", "killed": ["canary"]}

        "control" and "killed" may be left out. Write the file under another name and rename it into
        place: one that is read half-written is refused, with a logged error, until it is whole.
        While the file is missing or wrong, the last good split stays.

        Args:
            path: the file.
            poll_s: shortest time between two checks of the file, in seconds.
            on_exposure: as for the class.
            secret: as for the class.

        Raises:
            RequestError: the file is missing or wrong.
        """
        file = SplitFile(path, poll_s)
        found = file.split
        router = cls(
            found.weights,
            experiment=found.experiment,
            control=found.control,
            on_exposure=on_exposure,
            secret=secret,
        )
        router._file = file
        router._asked = found
        router._split = dataclasses.replace(found, hash_key=router._hash_key)
        return router

    @property
    def split(self) -> Split:
        """The split in use now."""
        self._poll()
        return self._split

    def assign(self, key: str | bytes | int) -> Assignment:
        """The label of a key: always the same one, while weights and kill switch stay.

        Args:
            key: the id of what must stay on one side: a user, a camera, an order. 7, "7" and b"7"
                are the same key; texts are not normalized ("é" has two spellings in Unicode).

        Raises:
            RequestError: the key is empty or of another type (None and bool are).
        """
        if self._file is not None:
            self._poll()
        return self._split.assign(key)

    def kill(self, *labels: str) -> None:
        """Sends the keys of these labels to the control; no other key moves.

        Without labels: of all labels but the control. On a router with a file it adds to what the
        file kills. It lasts until `revive`, whatever the file or set_weights say: a file that makes
        a label the control that was killed here is refused until then.

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
        """Calls on_exposure, if there is one; logs its errors and never raises."""
        self._on_exposure(exposure)

    def _poll(self) -> None:
        """Checks the file if it is time to; never waits for another thread that does."""
        now = time.monotonic()
        if self._file is None or now < self._file.next_s or not self._lock.acquire(blocking=False):
            return
        try:
            if now >= self._file.next_s:
                self._look()
        finally:
            self._lock.release()

    def _look(self) -> None:
        """Takes over what is in the file now. The lock is held."""
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
        killed = {*asked.killed, *here}
        new = dataclasses.replace(asked, killed=killed, hash_key=self._hash_key)
        old = self._split
        self._asked, self._split = asked, new
        _log.log(level, "split %s: %s -> %s", why, old, new)


def _secret(on_exposure: Callable[[Exposure], None] | None) -> Secret:
    """The secret where none was given."""
    if isinstance(on_exposure, ExposureLog):
        return on_exposure.secret_path
    if on_exposure is not None:
        _log.warning(
            "a router without secret=… tells its exposures to something else than an ExposureLog: "
            "its units are other ones in each process, and after each start"
        )
    return os.urandom(32)
