"""One call's route: the servable that the router chooses, its fallbacks, the exposure logged."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from tfs_client.errors import RequestError, TfsError
from tfs_client.servable import Servable

if TYPE_CHECKING:  # not at run time: callers without a router would pay for its libraries' import
    from tfs_client.routing.router import Assignment, Router

Key: TypeAlias = str | bytes | int
"""What an experiment keeps on one side: the id of a user, a device, an order."""


class Traced(Protocol):
    """What every answer says about how it came to be."""

    @property
    def model(self) -> str: ...  # noqa: D102
    @property
    def latency_s(self) -> float: ...  # noqa: D102
    @property
    def answered_by(self) -> str: ...  # noqa: D102
    @property
    def request_id(self) -> str: ...  # noqa: D102


@dataclasses.dataclass(frozen=True, kw_only=True)
class Route:
    """The servables that one call asks, in order."""

    chain: tuple[Servable, ...]
    request_id: str
    router: Router | None
    assignment: Assignment | None

    @classmethod
    def begin(
        cls,
        servable: Servable,
        fallback: Sequence[Servable],
        router: Router | None,
        key: Key | None,
        request_id: str,
    ) -> Route:
        """The route of a call; asks the router, if there is one, for the label.

        Raises:
            RequestError: a router without a key, a key without a router, or a fallback that is
                no Servable.
        """
        assignment = None
        if router is not None:
            if key is None:
                raise RequestError(
                    "Expected key, which stays on one side of the experiment. Received: a router "
                    "without a key; give the user's or the device's id"
                )
            assignment = router.assign(key)
            servable = dataclasses.replace(servable, label=assignment.label, version=None)
            request_id = request_id or os.urandom(16).hex()
        elif key is not None:
            raise RequestError(
                "Expected router, to choose a side for the key. Received: a key (of type "
                f"{type(key).__name__}) without one"
            )
        if not isinstance(fallback, Iterable):
            raise RequestError(f"Expected fallback as a list. Received: fallback={fallback!r}")
        for one in fallback:
            if not isinstance(one, Servable):
                raise RequestError(
                    "Expected fallback as a list of Servable, such as [Servable(label='stable')]. "
                    f"Received: {one!r}"
                )
        # The fallbacks may include the servable that the router chose.
        chain = tuple(dict.fromkeys((servable, *fallback)))
        return cls(chain=chain, request_id=request_id, router=router, assignment=assignment)

    def expose(
        self,
        answer: Traced,
        version: int,
        needs_review: bool,
        *,
        predicted: str = "",
        probability: float | None = None,
    ) -> None:
        """Logs which version answered, and what it decided, if it decided something."""
        if self.router is not None:
            if probability is not None and not math.isfinite(probability):
                probability = None  # JSON has no NaN, so the log would refuse the line
            self._write(
                answered_by=answer.answered_by,
                model=answer.model,
                version=version,
                request_id=answer.request_id,
                latency_s=answer.latency_s,
                error="",
                needs_review=needs_review,
                predicted=predicted,
                probability=probability,
            )

    def expose_failure(self, error: TfsError, latency_s: float) -> None:
        """Logs that no servable answered: the failure belongs to the side that was assigned."""
        if self.router is not None:
            self._write(
                answered_by="",
                model=self.chain[0].model,
                version=0,
                request_id=self.request_id,
                latency_s=latency_s,
                error=type(error).__name__,
                needs_review=None,
                predicted="",
                probability=None,
            )

    def _write(
        self,
        *,
        answered_by: str,
        model: str,
        version: int,
        request_id: str,
        latency_s: float,
        error: str,
        needs_review: bool | None,
        predicted: str,
        probability: float | None,
    ) -> None:
        from tfs_client.routing.exposures import Exposure

        assert self.router is not None
        assert self.assignment is not None
        self.router.expose(
            Exposure(
                experiment=self.assignment.experiment,
                unit=self.assignment.unit,
                label=self.assignment.label,
                answered_by=answered_by,
                model=model,
                version=version,
                request_id=request_id,
                time_s=time.time(),
                latency_s=latency_s,
                error=error,
                needs_review=needs_review,
                predicted=predicted,
                probability=probability,
            )
        )
