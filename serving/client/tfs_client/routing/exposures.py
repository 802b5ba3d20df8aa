"""Who met what: the log that a comparison of labels is counted from.

Knows nothing about weights or calls.
"""

from __future__ import annotations

import dataclasses

from tfs_client.background.jsonl import JsonLines


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
    """What outcomes that become known later are joined by."""
    time_s: float
    """Unix time in seconds."""
    latency_s: float
    error: str
    """Empty, or the class name of the error if nobody answered."""
    needs_review: bool | None
    predicted: str = ""
    """The class that the model decided on: with the outcome it says who was right. Empty where
    there is none: arrays, an image that is not valid, a default answer, a failure."""
    probability: float | None = None
    """Of the positive class, 0-1; None where there is none."""


class ExposureLog(JsonLines[Exposure]):
    """Appends exposures to a file, one line of JSON each; to be used as a Router's on_exposure.

    Threads and processes may share the file; JsonLines tells the rest.
    """
