"""Images to decisions, as steps: what ImageClassifier and AsyncImageClassifier have in common.

It asks the contract's classifier in batches, with fallbacks and routers. Thresholds, class names
and scaling are not here: they are in the model's graph.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from tfs_client import contract
from tfs_client.answers import ImagePrediction, Prediction
from tfs_client.call.arguments import checked_timeout
from tfs_client.call.core import Core, check_shadow
from tfs_client.call.predictor import Predictor, Question
from tfs_client.call.route import Key, Route
from tfs_client.errors import (
    AnswerError,
    EmptyBatchError,
    FailedPreconditionError,
    InvalidRequestError,
    RequestError,
    TfsError,
)
from tfs_client.failures.policy import Losses
from tfs_client.images import pictures
from tfs_client.images.pictures import Guards, Picture
from tfs_client.images.pixels import ImageSource
from tfs_client.images.rows import checked_classes, marked, numbered, rows_of, stand_in
from tfs_client.servable import Servable, servable
from tfs_client.steps import Steps, Work

if TYPE_CHECKING:
    from tfs_client.call.connection import Connection
    from tfs_client.routing.router import Router
    from tfs_client.shadow.shadow import Shadow

BATCH_SIZE: Final = 32
"""Images a request; a server with batching refuses more than its max_batch_size."""

CONCURRENCY: Final = 4
"""Requests of a stream under way at once."""

OnBadImage: TypeAlias = Literal["raise", "mark"]

_BATCH_TOO_LARGE: Final = re.compile(r"Task size \d+ is larger than maximum input batch size (\d+)")
"""TensorFlow Serving's error; it does not tell its max_batch_size in any other way."""


class _Turn(NamedTuple):
    """Who is asked, and until when: one on the route of a call, or a shadow."""

    predictor: Predictor
    """What to ask through."""
    servable: Servable
    end: float
    """When the time is up, on time.monotonic()'s clock."""
    request_id: str
    losses: Losses | None = None
    """Of the route, if it is on one."""


class Classifier:
    """How one image classifier is asked. For callers: ImageClassifier and AsyncImageClassifier.

    Args:
        client: an open client; its owner closes it.
        label: ask the version that this label points at; None means "stable", unless a version is
            given.
        version: ask this version, in place of a label.
        model: the servable's name.
        timeout_s: deadline of each request in seconds, with all retries and fallbacks; None means
            the client's.
        batch_size: most images in one request. If the contract (MAX_ROWS) or the server takes
            fewer, that is used.
        fallback: whom to ask, in order, where the one before cannot answer.
        default: whether to answer where no servable does: with needs_review, the reason, and no
            label.
        router: chooses the label by the `key` of a call, in place of label and version.
        guards: what is checked before a picture is sent.
        shadow: asks another version the same afterwards, and compares the answers.
        classes: the class names that may be answered; AnswerError for any other. None takes every
            name: a version's metadata does not tell them.

    Raises:
        RequestError: a label and a version, a batch size below 1, or classes that are no names.
    """

    def __init__(
        self,
        client: Connection,
        *,
        label: str | None = None,
        version: int | None = None,
        model: str = contract.MODEL_NAME,
        timeout_s: float | None = None,
        batch_size: int = BATCH_SIZE,
        fallback: Sequence[Servable] = (),
        default: bool = False,
        router: Router | None = None,
        guards: Guards = Guards(),  # noqa: B008  # frozen
        shadow: Shadow | None = None,
        classes: Iterable[str] | None = None,
    ):
        if not isinstance(batch_size, int) or batch_size < 1:
            raise RequestError(f"Expected batch_size above 0. Received: batch_size={batch_size}")
        if label is None and version is None:
            label = contract.LABEL_STABLE
        self._servable = servable(model, label, version)
        self._core = client.core
        self._timeout_s = client.timeout_s if timeout_s is None else checked_timeout(timeout_s)
        self._batch_size = min(batch_size, contract.MAX_ROWS)
        self._fallback = tuple(fallback)
        self._default = default
        self._router = router
        self._guards = guards
        self._shadow = shadow
        self._classes = None if classes is None else checked_classes(classes)
        if shadow is not None:
            check_shadow(shadow)

    def _classify(
        self,
        sources: Sequence[ImageSource],
        on_bad_image: OnBadImage,
        key: Key | None,
        request_id: str,
    ) -> Steps[list[ImagePrediction]]:
        """All sources, in order, in one request after the other."""
        answers: list[ImagePrediction] = []
        while len(answers) < len(sources):
            prepare = functools.partial(
                self._guards.prepare_some, sources, len(answers), self._batch_size
            )
            rest = sources[len(answers) : len(answers) + self._batch_size]
            batch: list[Picture] = (yield Work(prepare)) if pictures.costs_time(rest) else prepare()
            for picture in batch:
                if picture.problem is not None and on_bad_image == "raise":
                    raise picture.problem
            good = [picture for picture in batch if picture.problem is None]
            # Of several images, each has an id of its own: the call's, and its place in sources.
            first = len(answers)
            ids = [f"-{first + at}" for at, picture in enumerate(batch) if picture.problem is None]
            if len(sources) == 1:
                ids = [""]
            rows = (yield from self._ask_route(good, ids, key, request_id)) if good else []
            if self._shadow is not None and rows:
                yield from self._mirror(self._shadow, good, rows, ids[0])
            found = iter(rows)
            answers += [marked(one) if one.problem else next(found) for one in batch]
        return answers

    def _ask_route(
        self, batch: Sequence[Picture], ids: Sequence[str], key: Key | None, request_id: str
    ) -> Steps[list[ImagePrediction]]:
        """One batch, answered by the first servable on the route that can."""
        start = time.monotonic()
        end = start + self._timeout_s
        if self._router is None and key is None and not self._fallback and not self._default:
            turn = _Turn(self._core.predictor, self._servable, end, request_id)
            answers = yield from self._ask(batch, turn)
            answers = numbered(answers, request_id, ids)
            self._tell(self._servable, answers)
            return answers
        route = Route.begin(self._servable, self._fallback, self._router, key, request_id)
        losses = Losses()

        def ask(one: Servable, its_end: float) -> Steps[list[ImagePrediction]]:
            core: Core = self._core if one.client is None else one.client.core
            return self._ask(batch, _Turn(core.predictor, one, its_end, route.request_id, losses))

        try:
            found, answered = yield from self._core.ask_chain(
                route, end, ask, losses, has_default=self._default
            )
            if found is None and not self._default:
                raise answered.failures[0]
        except TfsError as error:
            route.expose_failure(error, time.monotonic() - start)
            raise
        if found is None:
            latency_s = time.monotonic() - start
            found = [stand_in(one, self._servable, latency_s, route.request_id) for one in batch]
        if answered.reason:
            found = [
                dataclasses.replace(
                    one, reason="; ".join(filter(None, (answered.reason, one.reason)))
                )
                for one in found
            ]
        found = numbered(found, route.request_id, ids)
        for answer in found:
            route.expose(
                answer,
                answer.model_version,
                answer.needs_review,
                predicted=answer.label,
                probability=answer.probability,
            )
        self._tell(answered.servable or route.chain[0], found)
        return found

    def _mirror(
        self,
        shadow: Shadow,
        batch: Sequence[Picture],
        answers: Sequence[ImagePrediction],
        first_id: str,
    ) -> Steps[None]:
        """Has a batch that was answered mirrored."""
        request_id = answers[0].request_id.removesuffix(first_id)

        def prepare() -> Callable[[Predictor, Servable, float], Steps[list[ImagePrediction]]]:
            pictures_then = pictures.kept(batch)
            twin = copy.copy(self)  # the shadow's batch size may differ from this one's
            return lambda predictor, one, end: twin._ask(
                pictures_then, _Turn(predictor, one, end, request_id)
            )

        return shadow.mirror(self._core, request_id, answers, prepare)

    def _ask(self, batch: Sequence[Picture], turn: _Turn) -> Steps[list[ImagePrediction]]:
        """One servable: a request for the files and one for the pixels, put back in order."""
        answers: dict[int, ImagePrediction] = {}
        for of_files in (True, False):
            places = [at for at, it in enumerate(batch) if (it.content is not None) is of_files]
            if places:
                rows = yield from self._ask_alike([batch[at] for at in places], turn)
                answers.update(zip(places, rows, strict=True))
        return [answers[at] for at in range(len(batch))]

    def _ask_alike(self, batch: Sequence[Picture], turn: _Turn) -> Steps[list[ImagePrediction]]:
        """Files alone, or pixels alone; in smaller requests where the server takes fewer."""
        send = self._send_pixels if batch[0].content is None else self._send_files
        try:
            prediction = yield from send(batch, turn)
        except InvalidRequestError as error:
            limit = _BATCH_TOO_LARGE.search(error.details)
            if limit is None or int(limit[1]) >= len(batch):
                raise
            most = int(limit[1])
        else:
            return rows_of(prediction, batch, turn.request_id, self._classes)
        self._batch_size = min(self._batch_size, most)
        rows: list[ImagePrediction] = []
        for at in range(0, len(batch), most):
            rows += yield from self._ask_alike(batch[at : at + most], turn)
        return rows

    def _send_files(self, batch: Sequence[Picture], turn: _Turn) -> Steps[Prediction]:
        inputs = {contract.INPUT_IMAGE_BYTES: [picture.content for picture in batch]}
        return self._predict(contract.SIGNATURE_DEFAULT, inputs, turn)

    def _send_pixels(self, batch: Sequence[Picture], turn: _Turn) -> Steps[Prediction]:
        size = yield from self._size(turn)
        try:
            return (yield from self._send_resized(batch, size, turn))
        except (InvalidRequestError, FailedPreconditionError):
            # The label may have moved to a version that wants another size.
            fresh = yield from self._size(turn, anew=True)
            if fresh == size:
                raise
        return (yield from self._send_resized(batch, fresh, turn))

    def _send_resized(
        self, batch: Sequence[Picture], size: tuple[int, int], turn: _Turn
    ) -> Steps[Prediction]:
        resize = functools.partial(pictures.stack, batch, size)
        pixels = resize() if pictures.fit(batch, size) else (yield Work(resize))
        inputs = {contract.INPUT_IMAGES: pixels}
        return (yield from self._predict(contract.SIGNATURE_IMAGES, inputs, turn))

    def _predict(self, signature: str, inputs: dict[str, Any], turn: _Turn) -> Steps[Prediction]:
        question = Question(
            inputs, signature, (), self._timeout_s, (), turn.request_id, turn.losses
        )
        answer, _, _ = yield from turn.predictor.predict(question, turn.servable, turn.end)
        return answer

    def _size(self, turn: _Turn, *, anew: bool = False) -> Steps[tuple[int, int]]:
        """The (height, width) that the version's predict_images takes."""
        metadata = yield from turn.predictor.signatures(
            turn.servable, self._timeout_s, turn.end, anew=anew
        )
        signature = metadata.signatures.get(contract.SIGNATURE_IMAGES)
        spec = signature.inputs.get(contract.INPUT_IMAGES) if signature else None
        shape = spec.shape if spec else None
        if shape is None or len(shape) != 4 or shape[3] != 3 or not shape[1] or not shape[2]:
            raise AnswerError(
                f"Expected version {metadata.version} of {metadata.model} to take "
                f"{contract.INPUT_IMAGES} [N, H, W, 3] with fixed H and W in its signature "
                f"{contract.SIGNATURE_IMAGES}. Received: shape={shape}, "
                f"signatures={sorted(metadata.signatures)}; send files instead of pixels"
            )
        return shape[1], shape[2]

    def _input_size(self) -> Steps[tuple[int, int]]:
        end = time.monotonic() + self._timeout_s
        return self._size(_Turn(self._core.predictor, self._servable, end, ""), anew=True)

    def _tell(self, one: Servable, answers: Sequence[ImagePrediction]) -> None:
        self._core.sender.notify(
            lambda observer: observer.images_answered(one.model, one.label, answers)
        )


def check_some(count: int) -> None:
    """Refuses an empty batch.

    Raises:
        EmptyBatchError: there are none.
    """
    if not count:
        raise EmptyBatchError("Expected at least one image. Received: none")
