"""Predict, asked of one servable: the inputs checked and encoded, sent, and the answer read.

The signatures that inputs are checked against are asked for once and kept (known.py).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from tfs_client.answers import Metadata, Prediction
from tfs_client.call.about import About
from tfs_client.call.channel import checked_metadata
from tfs_client.call.known import Known, KnownRequest
from tfs_client.call.sender import Sender
from tfs_client.errors import (
    AnswerError,
    FailedPreconditionError,
    InvalidRequestError,
    NotFoundError,
    RequestError,
)
from tfs_client.failures.policy import Losses
from tfs_client.servable import Servable
from tfs_client.steps import Metadata as Pairs, Steps
from tfs_client.wire import decoding, messages, serving_pb2 as pb

_MAYBE_ANOTHER_VERSION: Final = (InvalidRequestError, FailedPreconditionError, NotFoundError)
"""Refusals after which the signature is asked for anew."""


class Question(NamedTuple):
    """What one Predict call asks, the same for each servable that it may be asked of."""

    inputs: Mapping[str, Any]
    signature: str
    outputs: tuple[str, ...]
    """The outputs wanted; empty means all."""
    timeout_s: float
    """Of the whole call, in seconds; for the sentences of errors."""
    metadata: Pairs = ()
    request_id: str = ""
    losses: Losses | None = None
    """Of the route that it is asked on, if there is one."""

    def __repr__(self) -> str:
        """Without inputs and metadata, which may hold secrets."""
        return f"Question({self.signature!r}, outputs={self.outputs}, id={self.request_id!r})"


class Sent(NamedTuple):
    """A request that was answered: what it takes to ask another servable the same."""

    request: bytes
    known: KnownRequest
    """How it was made."""
    metadata: Pairs

    def __repr__(self) -> str:
        """Without metadata, which may hold secrets."""
        return f"Sent({len(self.request)} bytes of {self.known.name!r})"


class Predictor:
    """Asks servables to predict, and keeps what it learns of their signatures.

    Args:
        sender: of the client's bytes.
        max_message_bytes: refuse answers whose tensors would be larger in memory.
        check: check inputs against the signature before they are sent.
    """

    def __init__(self, sender: Sender, *, max_message_bytes: int, check: bool):
        self.sender = sender
        self.known = Known()
        self._max_bytes = max_message_bytes
        self._check = check

    def beside(self, sender: Sender) -> Predictor:
        """One that shares nothing with this one but the connection, and checks nothing."""
        return Predictor(sender, max_message_bytes=self._max_bytes, check=False)

    def predict(
        self, question: Question, servable: Servable, end: float
    ) -> Steps[tuple[Prediction, bytes, KnownRequest]]:
        """Asks one servable; gives the answer, and the request with what made it.

        Args:
            question: what to ask.
            servable: whom; its own `signature` is left to the caller.
            end: when the time is up, on time.monotonic()'s clock.
        """
        inputs, signature, outputs, timeout_s, metadata, request_id, losses = question
        known, request = None, None
        try:
            known = self.known.request(servable, signature, outputs, check=self._check)
            request = None if known is None else known.encode(inputs)
        except RequestError:
            if not self._check:
                raise
            # The label may have moved to a version that takes it.
        if known is None or request is None:
            known, request = yield from self._encode_anew(question, servable, end)
        if request_id:
            metadata = with_request_id(metadata, request_id)
        about = About("Predict", servable, signature, timeout_s, end, metadata, False, losses)
        try:
            answer, latency_s = yield from self.sender.exchange(about, request, self._read)
        except _MAYBE_ANOTHER_VERSION:
            self.known.forget(servable)
            raise
        if answer.model != servable.model or servable.version is not None:
            check_asked(servable, answer.model, answer.version)
        if known.metadata is not None and answer.version != known.metadata.version:
            self.known.answered(servable, answer.version)
        prediction = Prediction(
            outputs=answer.outputs,
            model=answer.model,
            version=answer.version,
            signature=answer.signature,
            latency_s=latency_s,
            answered_by=servable.name,
            request_id=request_id,
        )
        return prediction, request, known

    def repeat(self, sent: Sent, servable: Servable, end: float) -> Steps[Prediction]:
        """Asks a servable what another one was asked, with the same bytes and unchecked."""
        signature = sent.known.name if servable.signature is None else servable.signature
        request = sent.known.template.readdressed(sent.request, model_spec(servable, signature))
        left_s = end - time.monotonic()
        about = About("Predict", servable, signature, left_s, end, sent.metadata)
        answer, latency_s = yield from self.sender.exchange(about, request, self._read)
        check_asked(servable, answer.model, answer.version)
        return Prediction(**answer._asdict(), latency_s=latency_s, answered_by=servable.name)

    def signatures(
        self, servable: Servable, timeout_s: float, end: float, *, anew: bool = False
    ) -> Steps[Metadata]:
        """The signatures of the version that would answer; as known, or asked for anew."""
        known = None if anew else self.known.metadata(servable)
        if known is not None:
            return known
        about = About("GetModelMetadata", servable, "", timeout_s, end)
        return (yield from self.fetch_metadata(about, servable))

    def fetch_metadata(self, about: About, servable: Servable) -> Steps[Metadata]:
        """Asks the server for a servable's signatures, and keeps them."""
        request = messages.encode(messages.metadata_request(model_spec(servable)))
        found, _ = yield from self.sender.exchange(about, request, _read_metadata)
        check_asked(servable, found.model, found.version)
        self.known.learn(servable, found)
        return found

    def _encode_anew(
        self, question: Question, servable: Servable, end: float
    ) -> Steps[tuple[KnownRequest, bytes]]:
        """Checks and encodes against the signature of the version that would answer now."""
        about = About("GetModelMetadata", servable, "", question.timeout_s, end, question.metadata)
        found = yield from self._metadata_of_the_last(servable, about)
        if found is None:
            found = yield from self.fetch_metadata(about, servable)
        known = KnownRequest(servable, question.signature, question.outputs, found)
        return known, known.encode(question.inputs)

    def _metadata_of_the_last(self, servable: Servable, about: About) -> Steps[Metadata | None]:
        """The signatures of the version that answered last, where they are not known yet."""
        version = self.known.unknown_version(servable)
        if version is None:
            return None
        by_number = Servable(model=servable.model, version=version)
        try:
            found = yield from self.fetch_metadata(about._replace(servable=by_number), by_number)
        except NotFoundError:  # the pod that was asked does not have it: ask by label then
            return None
        self.known.learn(servable, found)
        return found

    def _read(self, data: bytes) -> decoding.Answer:
        return decoding.decode_answer(data, self._max_bytes)


def check_asked(servable: Servable, model: str, version: int) -> None:
    """Refuses the answer of another model, or of another version, than was asked.

    A server that does not tell who answered is taken at its word.

    Raises:
        AnswerError: it is another one's.
    """
    other_model = model and model != servable.model
    other_version = version and servable.version is not None and version != servable.version
    if other_model or other_version:
        raise AnswerError(
            f"Expected the answer of {servable}. Received: that of version {version} of {model}; "
            "what answers at the target mixes models up: look at a proxy on the way"
        )


def with_request_id(metadata: Pairs, request_id: str) -> Pairs:
    """The pairs of a call as they are sent: checked, with its id if it has one."""
    checked = checked_metadata(metadata)
    return (*checked, ("x-request-id", request_id)) if request_id else checked


def model_spec(servable: Servable, signature: str = "") -> pb.ModelSpec:
    """The servable, as requests name it."""
    return messages.model_spec(
        servable.model, label=servable.label, version=servable.version, signature=signature
    )


def _read_metadata(data: bytes) -> Metadata:
    return messages.read_metadata(messages.decode(pb.GetModelMetadataResponse, data))
