"""What a client does, as steps: the same for a thread and an event loop.

Predict goes from servable to servable along a route (route.py, fallback.py) until one answers
(predictor.py), and may then be mirrored. The other calls are sent once to one servable.
"""

from __future__ import annotations

import dataclasses
import functools
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, runtime_checkable

import grpc

from tfs_client.answers import (
    Classification,
    Metadata,
    Prediction,
    Regression,
    VersionStatus,
)
from tfs_client.call.about import About
from tfs_client.call.arguments import checked_outputs, checked_timeout
from tfs_client.call.known import KnownRequest
from tfs_client.call.predictor import (
    Predictor,
    Question,
    Sent,
    check_asked,
    model_spec,
    with_request_id,
)
from tfs_client.call.route import Key, Route
from tfs_client.call.sender import Sender
from tfs_client.errors import (
    CallError,
    DeadlineExceededError,
    NotAllowedError,
    NotServedError,
    RequestError,
    TfsError,
)
from tfs_client.failures.codes import from_code
from tfs_client.failures.fallback import DEFAULT, Answered, Fallbacks, first_answer
from tfs_client.failures.policy import Losses
from tfs_client.servable import Servable
from tfs_client.steps import Metadata as Pairs, Pause, Steps
from tfs_client.wire import messages, serving_pb2 as pb
from tfs_client.wire.inputs import as_array, check_mapping

if TYPE_CHECKING:
    import asyncio

    from tfs_client.routing.router import Router

Answer = TypeVar("Answer")

_POLL_S: Final = 0.2

_RELOAD_HINT: Final = (
    "the server may still be at it, and later reloads wait behind it: it waits without limit for a "
    "new model whose base_path is missing or has no version in it, or while it does not look "
    "(--file_system_poll_wait_seconds=0). Look at the folder, at status() and at its log, or allow "
    "more time"
)


class Aside(Protocol):
    """What asks beside a client's own calls, and ends with the client."""

    def close(self) -> list[asyncio.Task[None]]:
        """Gives up what is under way; returns the tasks that end by that."""


@runtime_checkable
class Mirrors(Protocol):
    """What mirrors calls that were answered: a Shadow."""

    def mirror(
        self,
        core: Core,
        request_id: str,
        answers: Sequence[Any],
        prepare: Callable[[], Callable[[Predictor, Servable, float], Steps[Sequence[Any]]]],
    ) -> Steps[None]:
        """Mirrors a call, perhaps; never waits for the mirror's answer and never raises.

        Args:
            core: of the client that was asked.
            request_id: of the call; empty where it has none.
            answers: what the caller gets, all from one servable: Predictions or ImagePredictions.
            prepare: makes the function that asks the same again, through a Predictor, of a
                servable, until a time on time.monotonic()'s clock; it gives as many answers. What
                the caller may change from now on is copied by prepare. Called before this returns,
                and only if the call is mirrored.
        """


class Core:
    """The logic behind Client and AsyncClient; their methods of the same names document it.

    Args:
        sender: of this client's bytes.
        max_message_bytes: refuse tensors that would be larger in memory.
        check: check inputs against the signature before they are sent.
    """

    def __init__(self, sender: Sender, *, max_message_bytes: int, check: bool):
        self.sender = sender
        self.predictor = Predictor(sender, max_message_bytes=max_message_bytes, check=check)
        self.fallbacks = Fallbacks()
        self.asides: weakref.WeakKeyDictionary[Mirrors, Aside] = weakref.WeakKeyDictionary()
        """Where the client's calls are mirrored."""

    def close(self) -> list[asyncio.Task[None]]:
        """Refuses calls from now on, and gives up mirrored ones; returns the tasks that end."""
        self.sender.close()
        return [task for aside in list(self.asides.values()) for task in aside.close()]

    def predict(
        self,
        inputs: Mapping[str, Any],
        servable: Servable,
        *,
        signature: str,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
        fallback: Sequence[Servable] = (),
        default: Mapping[str, Any] | None = None,
        router: Router | None = None,
        key: Key | None = None,
        request_id: str = "",
        metadata: Pairs = (),
        shadow: Mirrors | None = None,
    ) -> Steps[Prediction]:
        """Arrays to arrays: the first servable of the chain that answers."""
        if type(inputs) is not dict:  # a dict's names are looked at with its values
            check_mapping(inputs, may_be_empty=True)  # a signature may be without inputs
        wanted = () if outputs is None else checked_outputs(outputs)
        timeout_s = self.timeout_s(timeout_s)
        end = time.monotonic() + timeout_s
        if shadow is not None:
            check_shadow(shadow)
        question = Question(inputs, signature, wanted, timeout_s, metadata, request_id)
        steps: Steps[tuple[Prediction, bytes, KnownRequest | None]]
        if router is None and key is None and not fallback and default is None:
            steps = self.predictor.predict(question, servable, end)
        else:
            stand_in = None if default is None else _stand_in(default, servable, signature)
            route = Route.begin(servable, fallback, router, key, request_id)
            steps = self._predict_on_route(question, route, end, stand_in)
        answer, request, known = yield from steps
        if shadow is not None and known is not None:  # None: the default stands in
            prepare = functools.partial(_repeats, request, known, metadata, answer.request_id)
            yield from shadow.mirror(self, answer.request_id, [answer], prepare)
        return answer

    def _predict_on_route(
        self, question: Question, route: Route, end: float, stand_in: Prediction | None
    ) -> Steps[tuple[Prediction, bytes, KnownRequest | None]]:
        """The answer of the first servable on the route that gives one, or the one that stands in.

        For the one that stands in there is no request.
        """
        losses = Losses()
        question = question._replace(request_id=route.request_id, losses=losses)

        def ask(one: Servable, its_end: float) -> Steps[tuple[Prediction, bytes, KnownRequest]]:
            core: Core = self if one.client is None else one.client.core
            chosen = question.signature if one.signature is None else one.signature
            return core.predictor.predict(question._replace(signature=chosen), one, its_end)

        request, known = b"", None
        try:
            found, answered = yield from self.ask_chain(
                route, end, ask, losses, has_default=stand_in is not None
            )
            if found is not None:
                answer, request, known = found
            elif stand_in is not None:
                answer = dataclasses.replace(stand_in, request_id=route.request_id)
            else:
                raise answered.failures[0]
        except TfsError as error:
            route.expose_failure(error, question.timeout_s - (end - time.monotonic()))
            raise
        if answered.reason:
            answer = dataclasses.replace(answer, reason=answered.reason)
        route.expose(answer, answer.version, answer.needs_review)
        return answer, request, known

    def ask_chain(
        self,
        route: Route,
        end: float,
        ask: Callable[[Servable, float], Steps[Answer]],
        losses: Losses,
        *,
        has_default: bool,
    ) -> Steps[tuple[Answer | None, Answered]]:
        """Asks the servables on the route until one answers; logs, counts and tells observers."""

        def fell_back(servable: str, to: str, error: TfsError) -> None:
            self.fallbacks.log(servable, to, error)
            self.sender.notify(lambda observer: observer.fell_back(servable, to, error))

        answer, answered = yield from first_answer(
            route.chain, end, ask, fell_back, losses, has_default=has_default
        )
        if answered.servable is not None or has_default:
            self.fallbacks.answered(str(answered.servable or DEFAULT))
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
        request = messages.classify_request(model_spec(servable, signature), examples)
        answer, latency_s = yield from self.sender.exchange(
            about, messages.encode(request), _read_classification
        )
        check_asked(servable, answer.model, answer.version)
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
        request = messages.regress_request(model_spec(servable, signature), examples)
        answer, latency_s = yield from self.sender.exchange(
            about, messages.encode(request), _read_regression
        )
        check_asked(servable, answer.model, answer.version)
        return dataclasses.replace(answer, latency_s=latency_s)

    def metadata(
        self, servable: Servable, *, timeout_s: float | None = None, once: bool = False
    ) -> Steps[Metadata]:
        """The signatures of a version; asked now, and kept for the checks to come."""
        about = self._about("GetModelMetadata", servable, "", timeout_s)
        return self.predictor.fetch_metadata(about._replace(once=once), servable)

    def status(
        self, servable: Servable, *, timeout_s: float | None
    ) -> Steps[tuple[VersionStatus, ...]]:
        """The states of a model's versions."""
        about = self._about("GetModelStatus", servable, "", timeout_s)
        request = messages.encode(messages.status_request(model_spec(servable)))
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

        try:
            yield from self.sender.exchange(about, messages.encode(request), read)
        except DeadlineExceededError as error:
            error.hint = _RELOAD_HINT
            raise
        finally:
            self.predictor.known.clear()  # it may have been carried out, or may still be

    def wait_ready(self, servable: Servable, timeout_s: float) -> Steps[Metadata]:
        """Asks for metadata again and again, without circuit, until it is answered."""
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
                # The last try may merely run out of time: the reason before it says more.
                if reason is None or not isinstance(error, DeadlineExceededError):
                    reason = error
            if end - time.monotonic() <= _POLL_S:
                reason.timeout_s = reason.waited_s = timeout_s
                raise reason
            yield Pause(_POLL_S)

    def timeout_s(self, timeout_s: float | None) -> float:
        """The call's own deadline, or the client's."""
        return self.sender.settings.timeout_s if timeout_s is None else checked_timeout(timeout_s)

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


def check_shadow(shadow: object) -> None:
    """Refuses anything but a Shadow, before something is sent.

    Raises:
        RequestError: it is no Shadow.
    """
    if not isinstance(shadow, Mirrors) or isinstance(shadow, type):
        raise RequestError(f"Expected shadow as a Shadow. Received: {type(shadow).__name__}")


def _repeats(
    request: bytes, known: KnownRequest, metadata: Pairs, request_id: str
) -> Callable[[Predictor, Servable, float], Steps[list[Prediction]]]:
    """What asks another servable the same, with the very bytes that were sent."""
    sent = Sent(request, known, with_request_id(metadata, request_id))

    def repeat(predictor: Predictor, servable: Servable, end: float) -> Steps[list[Prediction]]:
        return [(yield from predictor.repeat(sent, servable, end))]

    return repeat


def _stand_in(default: Mapping[str, Any], servable: Servable, signature: str) -> Prediction:
    """The answer where no servable gives one."""
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


def _reads(kind: type[messages.AnyMessage]) -> Callable[[bytes], messages.AnyMessage]:
    return lambda data: messages.decode(kind, data)


def _read_classification(data: bytes) -> Classification:
    response = messages.decode(pb.ClassificationResponse, data)
    return messages.read_classification(response, latency_s=0.0)


def _read_regression(data: bytes) -> Regression:
    response = messages.decode(pb.RegressionResponse, data)
    return messages.read_regression(response, latency_s=0.0)
