"""The verbs with which a test writes the script of a fake."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import grpc

from tfs_client.answers import ImagePrediction
from tfs_client.errors import CallError
from tfs_client.testing.book import Book, Scope, Step, Value
from tfs_client.testing.served.image_model import ImageModel, example_of
from tfs_client.testing.served.requests import MESSAGES, Request
from tfs_client.testing.served.wording import Failure, ScriptError


class Script:
    """How a fake is told what to answer. Several threads may use one.

    What is scripted with `times` is answered first, in the order in which it was scripted. Then
    comes what was last scripted without `times`, for ever. Where nothing is, the script has run
    out: the caller gets an error that says so, and so does the test at the end. Where nothing at
    all is scripted for a request, the image classifier answers its first class, quite sure.
    """

    def __init__(self, book: Book, scope: Scope):
        self._book = book
        self._scope = scope

    def when(
        self,
        *,
        call: str | None = None,
        model: str | None = None,
        label: str | None = None,
        version: int | None = None,
        signature: str | None = None,
    ) -> Script:
        """A part of the script, for some requests alone; the part that names most goes first.

        What is not scripted there, or used up, is answered by the parts that name less.

        Args:
            call: "Predict", "Classify", "Regress", "GetModelMetadata", "GetModelStatus" or
                "HandleReloadConfigRequest"; None means the first three.
            model: the servable that is asked.
            label: the version label that is asked for (a request by number has none).
            version: the version that is asked for by its number.
            signature: the signature that is asked for.

        Raises:
            ScriptError: no such call or model, or the fake was closed.
        """
        self._book.check_usable()
        if call is not None and call not in MESSAGES:
            raise ScriptError(
                f"Expected call as one of {', '.join(MESSAGES)}. Received: call={call!r}"
            )
        if model is not None and model not in self._book.models:
            raise ScriptError(
                f"Expected model as one that this {self._book.fake} serves: "
                f"{', '.join(sorted(self._book.models))}. Received: model={model!r}"
            )
        return Script(self._book, Scope(call, model, label, version, signature))

    def answers(
        self,
        *each: ImagePrediction,
        label: str | None = None,
        probability: float | None = None,
        needs_review: bool | None = None,
        valid: bool = True,
        scores: Mapping[str, float] | None = None,
        times: int | None = None,
        delay_s: float = 0.0,
    ) -> None:
        """Has the image classifier answer; without arguments its first class, quite sure.

        Of an ImagePrediction its label, probability, needs_review, valid and scores are answered. A
        file that is no picture is answered as not valid all the same.

        Args:
            each: the answer about each picture of a request, in place of label and the others.
            label: about all pictures of a request, one of the model's classes; None means the
                likeliest of the scores, or the first class without any.
            probability: of the positive class of two, 0-1; of the label of more. None means what
                the scores say, or quite sure of the label.
            needs_review: whether a person should decide.
            valid: whether the picture could be decoded.
            scores: of each of the model's classes, 0-1; None: as the probability leaves them.
            times: for so many requests; None means from then on.
            delay_s: wait so long before it is answered, in seconds.

        Raises:
            ScriptError: values that the contract does not allow, or a fake that was closed. A class
                that the model does not have is told at the request, as only that names the model.
        """
        fields = (label, probability, needs_review, scores)
        if each and (any(one is not None for one in fields) or not valid):
            raise ScriptError(
                "Expected answers for each picture, or label and the others for all. Received: both"
            )
        if not all(isinstance(one, ImagePrediction) for one in each):
            raise ScriptError(
                "Expected answers as ImagePrediction, such as ImagePrediction.example(label="
                f'"sound"). Received: {", ".join(type(one).__name__ for one in each)}'
            )
        try:
            of_classes = functools.partial(
                example_of,
                label=label,
                probability=probability,
                needs_review=needs_review,
                valid=valid,
                scores=scores,
            )
            of_classes(ImageModel().classes)  # what is wrong with any model is refused here
        except ValueError as error:
            raise ScriptError(str(error)) from error

        def of_its_model(request: Request) -> ImagePrediction:
            model = self._book.models.get(request.model)
            asked = model if isinstance(model, ImageModel) else ImageModel()
            return of_classes(asked.classes)

        self._add(each or of_its_model, times, delay_s)

    def returns(
        self,
        value: Value | Callable[[Request], Value],
        *,
        times: int | None = None,
        delay_s: float = 0.0,
    ) -> None:
        """Has any model answer values, or what a function makes of each request.

        Args:
            value: of Predict: output name to array (or list, number, bytes, str), in the dtype of
                the signature where it has none; of Classify: for each example its classes, as
                (label, score) pairs; of Regress: a number for each example. Or a function that
                takes a Request and returns one of these or ImagePredictions, or raises Failure. It
                is called in the server's threads.
            times: for so many requests; None means from then on.
            delay_s: wait so long before it is answered, in seconds.

        Raises:
            ScriptError: something else, or a fake that was closed.
        """
        kinds = (Iterable, ImagePrediction)
        if not callable(value) and (
            isinstance(value, (str, bytes)) or not isinstance(value, kinds)
        ):
            raise ScriptError(
                "Expected outputs by name, rows (for Classify and Regress), or a function of a "
                f"Request. Received: {type(value).__name__}"
            )
        self._add(value, times, delay_s)

    def fails(
        self,
        kind: type[CallError] | grpc.StatusCode,
        details: str | None = None,
        *,
        times: int | None = None,
        delay_s: float = 0.0,
    ) -> None:
        """Has a call fail.

        A client may send it again (Client(retry=…)): each attempt is a request of its own.

        Args:
            kind: the error that the client is to raise, such as OverloadedError, or a gRPC code.
            details: the server's words, which the client looks at too; None means those of
                TensorFlow Serving, or of gRPC, for that kind.
            times: for so many requests; None means from then on.
            delay_s: wait so long before it fails, in seconds.

        Raises:
            ScriptError: a kind that no answer leads to, or a fake that was closed.
        """
        self._add(Failure(kind, details), times, delay_s)

    def _add(self, value: Any, times: int | None, delay_s: float) -> None:
        if times is not None and (type(times) is not int or times < 1):
            raise ScriptError(
                f"Expected times above 0, or None for ever. Received: times={times!r}"
            )
        good = isinstance(delay_s, (int, float)) and not isinstance(delay_s, bool)
        if not good or not 0 <= delay_s < math.inf:
            raise ScriptError(f"Expected delay_s from 0 on. Received: delay_s={delay_s!r}")
        self._book.add(self._scope, Step(value, delay_s), times)
