"""The log of which version answered each caller; comparisons of labels are counted from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tfs_client.background.jsonl import JsonLines


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exposure:
    """One call of an experiment: the unit, its label and the answer."""

    experiment: str
    unit: str
    """The key's pseudonym; see Assignment."""
    label: str
    """The label that was assigned."""
    answered_by: str
    """The servable that answered, such as "image_classifier/labels/canary"; "default" where the
    caller's default stood in, empty where the call failed."""
    model: str
    version: int
    """0 if no version answered."""
    request_id: str
    """For joining the exposure with an outcome that becomes known later."""
    time_s: float
    """Unix time in seconds."""
    latency_s: float
    error: str
    """The class name of the error if the call failed; else empty."""
    needs_review: bool | None
    predicted: str = ""
    """The class that the model decided on, to be compared with the outcome. Empty where there is
    none: arrays, an image that is not valid, a default answer, a failure."""
    probability: float | None = None
    """Of the positive class, 0-1; None where there is none."""


class ExposureLog(JsonLines[Exposure]):
    """Appends exposures to a file, one line of JSON each; to be used as a Router's on_exposure.

    Threads and processes may share the file; see JsonLines. A router that is given no secret keeps
    one beside it, in `secret_path`: processes that share the log, and their successors, give a key
    the same pseudonym. Delete that file when the experiment has ended: then nobody can tell any
    more whose lines these are.
    """

    @property
    def secret_path(self) -> Path:
        """The hidden file with the secret: for exposures.jsonl, .exposures.jsonl.secret."""
        return self.path.with_name(f".{self.path.name}.secret")
