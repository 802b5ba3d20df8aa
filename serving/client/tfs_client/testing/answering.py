"""Requests to answers, without a transport: what a fake server and a fake client share."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import grpc

from tfs_client.answers import ImagePrediction
from tfs_client.testing import responses
from tfs_client.testing.book import ASKS_A_MODEL, Book, Scope
from tfs_client.testing.script import Script
from tfs_client.testing.served.fake_model import AVAILABLE, FakeModel
from tfs_client.testing.served.image_model import ImageModel
from tfs_client.testing.served.requests import Request
from tfs_client.testing.served.wording import Failure, ScriptError
from tfs_client.wire import serving_pb2 as pb


class Outcome(NamedTuple):
    """What comes of a request."""

    answer: Any
    """The response's message, or a Failure."""
    delay_s: float


class Fake(Script):
    """What all fakes have: models, a script, and a record of what was asked.

    Args:
        given: the models that it serves; none means the contract's image classifier.

    Attributes:
        models: by name; their versions and labels may be changed.
    """

    def __init__(self, given: Iterable[FakeModel]):
        chosen = [*given] or [ImageModel()]
        for one in chosen:
            if not isinstance(one, FakeModel):
                raise ScriptError(
                    f"Expected models as FakeModel or ImageModel. Received: {type(one).__name__}"
                )
        self.models = {one.name: one for one in chosen}
        if len(self.models) < len(chosen):
            names = [one.name for one in chosen]
            raise ScriptError(f"Expected models of different names. Received: {names}")
        super().__init__(Book(type(self).__name__, self.models), Scope())
        self._received: list[Request] = []
        self._change = threading.Condition()

    @property
    def requests(self) -> tuple[Request, ...]:
        """All requests so far, in the order of their arrival, those for metadata among them."""
        with self._change:
            return tuple(self._received)

    def asked(
        self, call: str = "Predict", *, model: str | None = None, label: str | None = None
    ) -> tuple[Request, ...]:
        """The requests of one kind so far.

        Args:
            call: the method's short name.
            model: the servable that was asked; None means any.
            label: the version label that was asked for; None means any, or none.
        """
        scope = Scope(call, model, label)
        return tuple(one for one in self.requests if scope.fits(one))

    def wait_for(
        self,
        count: int = 1,
        call: str = "Predict",
        *,
        model: str | None = None,
        label: str | None = None,
        timeout_s: float = 5.0,
    ) -> tuple[Request, ...]:
        """Waits until so many requests of one kind have arrived, such as those of a shadow.

        Args:
            count: how many.
            call: the method's short name.
            model: the servable that is asked; None means any.
            label: the version label that is asked for; None means any, or none.
            timeout_s: how long to wait at most, in seconds.

        Returns:
            Those requests, as `asked`.

        Raises:
            ScriptError: they did not arrive in time; or it would block the event loop from which
                they are to come.
        """
        self._check_may_wait("wait_for")
        end = time.monotonic() + timeout_s
        with self._change:
            while True:
                scope = Scope(call, model, label)
                found = tuple(one for one in self._received if scope.fits(one))
                if len(found) >= count:
                    return found
                if not self._change.wait(max(0.0, end - time.monotonic())):
                    raise ScriptError(
                        f"Expected {count} requests ({scope}) within {timeout_s:g} s. "
                        f"Received: {len(found)}"
                    )

    @property
    def left(self) -> tuple[str, ...]:
        """What was scripted with `times` and was not asked for (yet), in words; empty if nothing.

        `assert not server.left` holds that all of it was.
        """
        return self._book.left

    def check(self) -> None:
        """Raises what went wrong with the script so far; the end of a `with` block does so too.

        Raises:
            ScriptError: it ran out, a function in it failed, or it does not fit a request.
        """
        self._book.check()

    def _check_may_wait(self, what: str) -> None:
        """Refuses to wait in a thread that others wait for."""
        import asyncio

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        raise ScriptError(
            f"Expected {what} in a thread without a running event loop, which it would block. "
            f"Received: a call from a coroutine; use `await asyncio.to_thread({what}, …)`"
        )

    def _end_of_block(self, error: BaseException | None) -> None:
        """What a `with` block ends with: the script's problems, unless another error is raised."""
        if error is None:
            self.check()
            return
        for problem in self._book.problems:
            if hasattr(error, "add_note"):  # from Python 3.11 on
                error.add_note(problem)

    # ---- answering ----

    def _record(self, request: Request) -> Request:
        """Keeps a request; returns it with the version that is to answer it."""
        request = self._resolved(request)
        with self._change:
            self._received.append(request)
            self._change.notify_all()
        return request

    def _resolved(self, request: Request) -> Request:
        model = self.models.get(request.model)
        if model is None or request.call == "GetModelStatus":
            return request
        try:
            version = model.version_of(request.label, request.version)
        except Failure:
            return request
        return dataclasses.replace(request, answered_version=version)

    def _respond(self, request: Request) -> Outcome:
        """What comes of a request; what is wrong with the script is said and kept."""
        try:
            return self._outcome(request)
        except ScriptError as error:
            problem = str(error)
        except Exception as error:  # of a test's function
            problem = (
                f"Expected the function that answers {request.call} of {request.model} to return. "
                f"Received: {type(error).__name__}: {error}"
            )
        self._book.wrong(problem)
        return Outcome(Failure(grpc.StatusCode.INTERNAL, problem), 0.0)

    def _outcome(self, request: Request) -> Outcome:
        refusal: Failure | None = None
        version = 0
        try:
            version = self._checked(request)
        except Failure as failure:
            refusal = failure
        step = self._book.take(request, only_failures=refusal is not None)
        delay_s = 0.0 if step is None else step.delay_s
        if step is not None and isinstance(step.value, Failure):
            return Outcome(step.value, delay_s)
        if refusal is not None:
            return Outcome(refusal, delay_s)
        value = self._unscripted if step is None else step.value
        try:
            if callable(value):
                value = value(request)
            return Outcome(self._answer(request, version, value), delay_s)
        except Failure as failure:
            return Outcome(failure, delay_s)

    def _checked(self, request: Request) -> int:
        """The version that is to answer; 0 where the call is about no version.

        Raises:
            Failure: a server refuses the request.
        """
        if request.call == "HandleReloadConfigRequest":
            return 0
        if not request.model:
            text = "ModelSpec has no name specified."
            if not request.message.HasField("model_spec"):
                text = "Missing ModelSpec"
            raise Failure(grpc.StatusCode.INVALID_ARGUMENT, text)
        model = self.models.get(request.model)
        if request.call == "GetModelStatus":
            return 0
        if model is None:
            # A label is looked up first: it is the label that is told to be unknown.
            model = FakeModel(request.model, inputs={}, versions=(), labels={})
            model.version_of(request.label, request.version)
        version = request.answered_version or model.version_of(request.label, request.version)
        if request.call != "GetModelMetadata":
            model.check(request, version)
        return version

    def _unscripted(self, request: Request) -> Any:
        model = self.models.get(request.model)
        if model is None or request.call not in ASKS_A_MODEL:
            return None
        value = model.answer(request)
        if value is None:
            raise ScriptError(
                f"Expected a script for {request.call} of {request.model}. Received: none; "
                f'such as when(call="{request.call}", model="{request.model}").returns(…)'
            )
        return value

    def _answer(self, request: Request, version: int, value: Any) -> Any:
        """The response's message."""
        if request.call == "HandleReloadConfigRequest":
            return self._reload(request)
        model = self.models.get(request.model)
        if request.call == "GetModelStatus":
            return responses.status(model, request)
        assert model is not None  # _checked refuses those that there are not
        if request.call == "GetModelMetadata":
            return responses.metadata(model, version)
        rows = _pictures(value)
        if rows is not None:
            if not isinstance(model, ImageModel):
                raise ScriptError(
                    f"Expected outputs of {model.name}, which is no image classifier: "
                    "returns({…}). Received: answers about pictures"
                )
            of_each = model.rows_of(request, rows)
            value = model.outputs_of(of_each)
            if request.call != "Predict":
                value = [model.scores_of(row) for row in of_each]
        if request.call == "Predict":
            return responses.prediction(model, version, request, value)
        return responses.of_examples(request, version, value)

    def _reload(self, request: Request) -> Any:
        """Sets labels, as a models.config says; versions and models stay as they are."""
        response = pb.ReloadConfigResponse()
        configs = request.message.config.model_config_list.config
        for config in configs:
            model = self.models.get(config.name)
            if model is None:
                raise ScriptError(
                    f"Expected a configuration of {', '.join(self.models)}. "
                    f"Received: {config.name}; a fake loads no model"
                )
            for version in config.version_labels.values():
                if model.versions.get(version) != AVAILABLE:
                    response.status.error_code = grpc.StatusCode.FAILED_PRECONDITION.value[0]
                    response.status.error_message = (
                        f"Request to assign label to version {version} of model {config.name}, "
                        "which is not currently available for inference"
                    )
                    return response
        for config in configs:
            self.models[config.name].labels.update(config.version_labels)
        return response


def _pictures(value: Any) -> tuple[ImagePrediction, ...] | None:
    """Answers about pictures; None where the value is none."""
    if isinstance(value, ImagePrediction):
        return (value,)
    if isinstance(value, (list, tuple)) and any(isinstance(one, ImagePrediction) for one in value):
        return tuple(value)
    return None
