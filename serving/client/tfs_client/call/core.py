"""What a client does, as steps: the same for a thread and an event loop.

Checks what is asked against the version's signature (known.py), sends it (sender.py), and follows
fallbacks and routers. Knows nothing about images.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import grpc

from tfs_client.answers import (
    Classification,
    Metadata,
    Prediction,
    Regression,
    VersionStatus,
)
from tfs_client.call.channel import checked_metadata
from tfs_client.call.codes import from_code
from tfs_client.call.fallback import DEFAULT, Answered, Fallbacks, first_answer
from tfs_client.call.known import Known, KnownRequest
from tfs_client.call.route import Key, Route
from tfs_client.call.sender import About, Sender
from tfs_client.errors import (
    CallError,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidRequestError,
    NotAllowedError,
    NotFoundError,
    NotServedError,
    RequestError,
    TfsError,
)
from tfs_client.servable import Servable
from tfs_client.steps import Metadata as Pairs, Pause, Steps
from tfs_client.wire import codec, messages, serving_pb2 as pb
from tfs_client.wire.inputs import as_array, check_mapping

if TYPE_CHECKING:
    import asyncio

    from tfs_client.routing.router import Router
    from tfs_client.shadow.mirrors import Aside
    from tfs_client.shadow.shadow import Shadow

Answer = TypeVar("Answer")

_POLL_S: Final = 0.2

LONGEST_S: Final = 366 * 24 * 3600
"""gRPC takes deadlines that are centuries away for past ones."""

_MAYBE_ANOTHER_VERSION: Final = (InvalidRequestError, FailedPreconditionError, NotFoundError)
"""Refusals after which the signature is asked for anew."""


class Sent(NamedTuple):
    """A Predict request that was answered: what it takes to ask somebody else the same."""

    request: bytes
    known: KnownRequest
    signature: str
    metadata: Pairs


class Core:
    """The logic behind Client and AsyncClient; their methods of the same names document it.

    Args:
        sender: of this client's bytes.
        max_message_bytes: refuse tensors that would be larger in memory.
        check: hold inputs against the signature.
    """

    def __init__(self, sender: Sender, *, max_message_bytes: int, check: bool):
        self.sender = sender
        self.fallbacks = Fallbacks()
        self._max_bytes = max_message_bytes
        self._check = check
        self._known = Known()
        self.asides: weakref.WeakKeyDictionary[Shadow, Aside] = weakref.WeakKeyDictionary()
        """Where the client's calls are mirrored."""

    def beside(self, sender: Sender) -> Core:
        """One that shares nothing with this one but the connection, and checks nothing."""
        return Core(sender, max_message_bytes=self._max_bytes, check=False)

    def close(self) -> list[asyncio.Task[None]]:
        """Refuses calls from now on, and gives up mirrored ones; returns the tasks that end."""
        self.sender.closed = True
        return [task for aside in list(self.asides.values()) for task in aside.close()]

    def predict(
        self,
        inputs: Mapping[str, Any],
        servable: Servable,
        *,
        signature: str,
        outputs: Sequence[str] | None,
        timeout_s: float | None,
        fallback: Sequence[Servable],
        default: Mapping[str, Any] | None,
        router: Router | None,
        key: Key | None,
        request_id: str,
        metadata: Pairs,
        shadow: Shadow | None,
    ) -> Steps[Prediction]:
        """Arrays to arrays: the first servable of the chain that answers."""
        if type(inputs) is not dict or not inputs:  # a dict's names are looked at with its values
            check_mapping(inputs)
        wanted = () if outputs is None else _checked_outputs(outputs)
        timeout_s = self.timeout_s(timeout_s)
        end = time.monotonic() + timeout_s
        sent: list[Sent] | None = None
        if shadow is not None:
            check_shadow(shadow)
            sent = []
        if router is None and key is None and not fallback and default is None:
            steps = self.predict_servable(
                inputs, servable, signature, wanted, timeout_s, end, metadata, request_id, sent
            )
        else:
            stand_in = None if default is None else _stand_in(default, servable, signature)
            route = Route.begin(servable, fallback, router, key, request_id)
            steps = self._predict_route(
                inputs, route, signature, wanted, timeout_s, end, metadata, stand_in, sent
            )
        if shadow is None or sent is None:
            return steps
        return self._mirrored(steps, shadow, sent)

    def _mirrored(
        self, steps: Steps[Prediction], shadow: Shadow, sent: list[Sent]
    ) -> Steps[Prediction]:
        """A call's steps, then its mirror: of the bytes that were sent, which nobody changes."""

        def prepare() -> Callable[[Core, Servable, float], Steps[list[Prediction]]]:
            return lambda core, one, end: core.repeat(sent[0], one, end)

        answer = yield from steps
        if sent:  # the default stands in where nobody answered
            yield from shadow.mirror(self, answer.request_id, [answer], prepare)
        return answer

    def repeat(self, sent: Sent, servable: Servable, end: float) -> Steps[list[Prediction]]:
        """Asks a servable what another one was asked, unchecked."""
        signature = sent.signature if servable.signature is None else servable.signature
        request = sent.known.template.readdressed(sent.request, _spec(servable, signature))
        left_s = end - time.monotonic()
        about = About("Predict", servable, signature, left_s, end, sent.metadata)
        answer, latency_s = yield from self.sender.exchange(about, request, self._read)
        return [Prediction(**answer._asdict(), latency_s=latency_s, answered_by=servable.name)]

    def _predict_route(
        self,
        inputs: Mapping[str, Any],
        route: Route,
        signature: str,
        wanted: tuple[str, ...],
        timeout_s: float,
        end: float,
        metadata: Pairs,
        stand_in: Prediction | None,
        sent: list[Sent] | None,
    ) -> Steps[Prediction]:
        def ask(one: Servable, its_end: float) -> Steps[Prediction]:
            core = self if one.client is None else one.client.core
            chosen = signature if one.signature is None else one.signature
            return core.predict_servable(
                inputs, one, chosen, wanted, timeout_s, its_end, metadata, route.request_id, sent
            )

        try:
            answer, answered = yield from self.ask_chain(route, end, ask)
            if answer is None:
                if stand_in is None:
                    raise answered.failures[0]
                answer = dataclasses.replace(stand_in, request_id=route.request_id)
        except TfsError as error:
            route.expose_failure(error, timeout_s - (end - time.monotonic()))
            raise
        if answered.reason:
            answer = dataclasses.replace(answer, reason=answered.reason)
        route.expose(answer, answer.version, answer.needs_review)
        return answer

    def ask_chain(
        self, route: Route, end: float, ask: Callable[[Servable, float], Steps[Answer]]
    ) -> Steps[tuple[Answer | None, Answered]]:
        """Asks who is on the route until somebody answers; logs, counts and tells observers."""

        def fell_back(servable: str, to: str, error: TfsError) -> None:
            self.fallbacks.log(servable, to, error)
            self.sender.notify(lambda observer: observer.fell_back(servable, to, error))

        answer, answered = yield from first_answer(route.chain, end, ask, fell_back)
        by = answered.servable
        self.fallbacks.answered(DEFAULT if by is None else str(by))
        return answer, answered

    def classify(
        self,
        examples: Iterable[Mapping[str, Any]],
        servable: Servable,
        *,
        signature: str,
        timeout_s: float | None,
        metadata: Pairs,
    ) -> Steps[Classification]:
        """Examples to labels with scores."""
        about = self._about("Classify", servable, signature, timeout_s, metadata)
        request = messages.classify_request(_spec(servable, signature), examples)
        answer, latency_s = yield from self.sender.exchange(
            about, messages.encode(request), _read_classification
        )
        return dataclasses.replace(answer, latency_s=latency_s)

    def regress(
        self,
        examples: Iterable[Mapping[str, Any]],
        servable: Servable,
        *,
        signature: str,
        timeout_s: float | None,
        metadata: Pairs,
    ) -> Steps[Regression]:
        """Examples to numbers."""
        about = self._about("Regress", servable, signature, timeout_s, metadata)
        request = messages.regress_request(_spec(servable, signature), examples)
        answer, latency_s = yield from self.sender.exchange(
            about, messages.encode(request), _read_regression
        )
        return dataclasses.replace(answer, latency_s=latency_s)

    def metadata(
        self, servable: Servable, *, timeout_s: float | None = None, once: bool = False
    ) -> Steps[Metadata]:
        """The signatures of a version; asked now, and kept for the checks to come."""
        about = self._about("GetModelMetadata", servable, "", timeout_s)
        return self._fetch_metadata(servable, about, once=once)

    def status(
        self, servable: Servable, *, timeout_s: float | None
    ) -> Steps[tuple[VersionStatus, ...]]:
        """The states of a model's versions."""
        about = self._about("GetModelStatus", servable, "", timeout_s)
        request = messages.encode(messages.status_request(_spec(servable)))
        response, _ = yield from self.sender.exchange(
            about, request, _reads(pb.GetModelStatusResponse)
        )
        return messages.read_status(response)

    def reload(self, config: str, *, timeout_s: float | None) -> Steps[None]:
        """Sends a models.config; the status in the answer counts as the call's."""
        request = messages.reload_request(config)
        method = "HandleReloadConfigRequest"
        about = self._about(method, None, "", timeout_s)

        def read(data: bytes) -> None:
            status = messages.decode(pb.ReloadConfigResponse, data).status
            code = messages.status_code(status.error_code)
            if code is not grpc.StatusCode.OK:
                raise from_code(
                    code,
                    status.error_message,
                    target=self.sender.settings.target,
                    call=method,
                    timeout_s=about.timeout_s,
                )

        yield from self.sender.exchange(about, messages.encode(request), read)
        self._known.clear()

    def wait_ready(self, servable: Servable, timeout_s: float) -> Steps[Metadata]:
        """Asks for metadata again and again, without circuit, until it is there."""
        timeout_s = self.timeout_s(timeout_s)
        end = time.monotonic() + timeout_s
        reason: CallError | None = None
        while True:
            left_s = max(0.001, min(end - time.monotonic(), self.sender.settings.timeout_s))
            try:
                return (yield from self.metadata(servable, timeout_s=left_s, once=True))
            except (NotServedError, NotAllowedError):
                raise
            except CallError as error:
                # The last try may only be cut short: the reason before it says more.
                if reason is None or not isinstance(error, DeadlineExceededError):
                    reason = error
            if end - time.monotonic() <= _POLL_S:
                reason.timeout_s = reason.waited_s = timeout_s
                raise reason
            yield Pause(_POLL_S)

    def timeout_s(self, timeout_s: float | None) -> float:
        """The call's own deadline, or the client's."""
        return self.sender.settings.timeout_s if timeout_s is None else checked_timeout(timeout_s)

    def predict_servable(
        self,
        inputs: Mapping[str, Any],
        servable: Servable,
        signature: str,
        outputs: tuple[str, ...],
        timeout_s: float,
        end: float,
        metadata: Pairs,
        request_id: str,
        sent: list[Sent] | None = None,
    ) -> Steps[Prediction]:
        """Asks one servable: checked, encoded, sent and read; `sent` gets what was answered."""
        known, request = None, None
        try:
            known = self._known.request(servable, signature, outputs, check=self._check)
            request = None if known is None else known.encode(inputs)
        except RequestError:
            if not self._check:
                raise
            # The label may have moved to a version that takes it.
        if known is None or request is None:
            known, request = yield from self._encode_anew(
                inputs, servable, signature, outputs, timeout_s, end, metadata
            )
        if request_id:
            metadata = (*checked_metadata(metadata), ("x-request-id", request_id))
        about = About("Predict", servable, signature, timeout_s, end, metadata)
        try:
            answer, latency_s = yield from self.sender.exchange(about, request, self._read)
        except _MAYBE_ANOTHER_VERSION:
            self._known.forget(servable)
            raise
        if known.metadata is not None and answer.version != known.metadata.version:
            self._known.answered(servable, answer.version)
        if sent is not None:
            sent.append(Sent(request, known, signature, checked_metadata(metadata)))
        return Prediction(
            outputs=answer.outputs,
            model=answer.model,
            version=answer.version,
            signature=answer.signature,
            latency_s=latency_s,
            answered_by=servable.name,
            request_id=request_id,
        )

    def signatures(
        self, servable: Servable, timeout_s: float, end: float, *, anew: bool = False
    ) -> Steps[Metadata]:
        """The signatures of the version that would answer; as known, or asked for anew."""
        known = None if anew else self._known.metadata(servable)
        if known is not None:
            return known
        about = About("GetModelMetadata", servable, "", timeout_s, end)
        return (yield from self._fetch_metadata(servable, about))

    def _encode_anew(
        self,
        inputs: Mapping[str, Any],
        servable: Servable,
        signature: str,
        outputs: tuple[str, ...],
        timeout_s: float,
        end: float,
        metadata: Pairs,
    ) -> Steps[tuple[KnownRequest, bytes]]:
        """Checks and encodes against the signature of the version that would answer now."""
        about = About("GetModelMetadata", servable, "", timeout_s, end, metadata)
        met, found = self._known.met(servable), None
        if met is not None:
            by_number = Servable(model=servable.model, version=met)
            with contextlib.suppress(NotFoundError):  # that pod does not have it: by label then
                found = yield from self._fetch_metadata(
                    by_number, about._replace(servable=by_number)
                )
                self._known.learn(servable, found)
        if found is None:
            found = yield from self._fetch_metadata(servable, about)
        known = KnownRequest(servable, signature, outputs, found)
        return known, known.encode(inputs)

    def _fetch_metadata(
        self, servable: Servable, about: About, *, once: bool = False
    ) -> Steps[Metadata]:
        request = messages.encode(messages.metadata_request(_spec(servable)))
        found, _ = yield from self.sender.exchange(about, request, _read_metadata, once=once)
        self._known.learn(servable, found)
        return found

    def _read(self, data: bytes) -> codec.Answer:
        return codec.decode_answer(data, self._max_bytes)

    def _about(
        self,
        method: str,
        servable: Servable | None,
        signature: str,
        timeout_s: float | None,
        metadata: Pairs = (),
    ) -> About:
        timeout_s = self.timeout_s(timeout_s)
        end = time.monotonic() + timeout_s
        return About(method, servable, signature, timeout_s, end, metadata)


def checked_timeout(timeout_s: float) -> float:
    """The deadline of a call, in seconds.

    Raises:
        RequestError: none, or none that ends.
    """
    if (
        isinstance(timeout_s, bool)
        or not isinstance(timeout_s, (int, float))
        or not 0 < timeout_s <= LONGEST_S
    ):
        raise RequestError(
            "Expected timeout_s as a number of seconds above 0, a year at most: every call has a "
            f"deadline. Received: timeout_s={timeout_s!r:.40}"
        )
    return float(timeout_s)


def check_shadow(shadow: object) -> None:
    """Refuses what is no Shadow, before anything is sent.

    Raises:
        RequestError: it is something else.
    """
    from tfs_client.shadow.shadow import Shadow

    if not isinstance(shadow, Shadow):
        raise RequestError(f"Expected shadow as a Shadow. Received: {type(shadow).__name__}")


def _checked_outputs(outputs: Sequence[str]) -> tuple[str, ...]:
    if (
        isinstance(outputs, str)
        or not isinstance(outputs, Iterable)
        or not all(isinstance(name, str) for name in outputs)
    ):
        raise RequestError(f"Expected outputs as a list of names. Received: outputs={outputs!r}")
    return tuple(outputs)


def _stand_in(default: Mapping[str, Any], servable: Servable, signature: str) -> Prediction:
    """The answer where nobody gives one."""
    check_mapping(default, "default")
    return Prediction(
        outputs={name: as_array(value, f"default {name!r}") for name, value in default.items()},
        model=servable.model,
        version=0,
        signature=signature,
        latency_s=0.0,
        answered_by=DEFAULT,
        needs_review=True,
    )


def _spec(servable: Servable, signature: str = "") -> pb.ModelSpec:
    return messages.model_spec(
        servable.model, label=servable.label, version=servable.version, signature=signature
    )


def _reads(kind: type[messages.AnyMessage]) -> Callable[[bytes], messages.AnyMessage]:
    return lambda data: messages.decode(kind, data)


def _read_classification(data: bytes) -> Classification:
    response = messages.decode(pb.ClassificationResponse, data)
    return messages.read_classification(response, latency_s=0.0)


def _read_regression(data: bytes) -> Regression:
    response = messages.decode(pb.RegressionResponse, data)
    return messages.read_regression(response, latency_s=0.0)


def _read_metadata(data: bytes) -> Metadata:
    return messages.read_metadata(messages.decode(pb.GetModelMetadataResponse, data))
