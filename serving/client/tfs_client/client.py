"""The client: any model that TensorFlow Serving serves, over gRPC, from threads.

    with Client("localhost:8500") as client:
        prediction = client.predict({"x": array}, model="affine", label="stable")
        print(prediction["y"], prediction.version)

It may be used from several threads, but not in the child of a fork, unless its first call is there.
What a call does is in
call/core.py; here its steps are walked in the caller's thread. aio.AsyncClient has the same methods
for asyncio.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import grpc

from tfs_client import contract
from tfs_client.answers import (
    Classification,
    Metadata,
    Prediction,
    Regression,
    VersionStatus,
)
from tfs_client.background.forks import Grpc
from tfs_client.background.greenlets import warn_if_calls_block
from tfs_client.call.connection import DEFAULT_TARGET, DEFAULT_TIMEOUT_S, Connection
from tfs_client.call.renewal import Channels
from tfs_client.call.route import Key
from tfs_client.servable import Servable, servable
from tfs_client.steps import Metadata as Pairs, walk

if TYPE_CHECKING:
    from tfs_client.routing.router import Router
    from tfs_client.shadow.shadow import Shadow

__all__ = ["DEFAULT_TARGET", "DEFAULT_TIMEOUT_S", "Client"]

RELOAD_TIMEOUT_S = 60.0
"""A reload waits for new models to be loaded."""


class Client(Connection):
    """Asks from any number of threads. Its arguments are Connection's."""

    def _open(self) -> None:
        self._channels = Channels(self._channel, operator.methodcaller("close"), self._renew_s)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; calls under way are cancelled. May be called twice."""
        self.core.close()
        for channel in self._channels.taken():
            channel.close()

    def predict(
        self,
        inputs: Mapping[str, Any],
        *,
        model: str = contract.MODEL_NAME,
        label: str | None = None,
        version: int | None = None,
        signature: str = contract.SIGNATURE_DEFAULT,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
        fallback: Sequence[Servable] = (),
        default: Mapping[str, Any] | None = None,
        router: Router | None = None,
        key: Key | None = None,
        request_id: str = "",
        metadata: Pairs = (),
        shadow: Shadow | None = None,
    ) -> Prediction:
        """Sends arrays, returns arrays.

        Args:
            inputs: input name to array (or list, number, bytes, str). Arrays must have the
                signature's dtype; bare numbers and lists take it. See inputs.as_array.
            model: the servable's name.
            label: ask the version that this label points at, or
            version: ask this version; with neither, the server's latest.
            signature: which of the model's signatures.
            outputs: the outputs wanted; None means all.
            timeout_s: deadline of this call in seconds, with all retries and fallbacks; None means
                the client's.
            fallback: whom to ask, in order, where the one before cannot answer: it is not there,
                not loaded, full, slow or broken. A request that is refused as wrong is not passed
                on.
            default: output name to array: the answer where none of them answers. It is marked
                needs_review, and says who was asked and why they failed.
            router: chooses the label by `key`, in place of label and version, and logs which
                version answered.
            key: what stays on one side of the router's experiment, such as a user's id.
            request_id: carried in the answer, in x-request-id to the server, and in the router's
                log; made up where a router needs one.
            metadata: further gRPC metadata of this call.
            shadow: asks another version the same afterwards, and compares the answers.

        Returns:
            The outputs, which servable answered, and why others could not. Arrays are read-only.

        Raises:
            RequestError: something was wrong before sending; its subclass says what.
            CallError: the call failed; its subclass and `code` say how.
            AnswerError: the answer contradicts itself.
        """
        return walk(
            self.core.predict(
                inputs,
                servable(model, label, version),
                signature=signature,
                outputs=outputs,
                timeout_s=timeout_s,
                fallback=fallback,
                default=default,
                router=router,
                key=key,
                request_id=request_id,
                metadata=metadata,
                shadow=shadow,
            )
        )

    def classify(
        self,
        examples: Iterable[Mapping[str, Any]],
        *,
        model: str = contract.MODEL_NAME,
        label: str | None = None,
        version: int | None = None,
        signature: str = contract.SIGNATURE_CLASSIFY,
        timeout_s: float | None = None,
        metadata: Pairs = (),
    ) -> Classification:
        """TensorFlow Serving's Classify API.

        Args:
            examples: one mapping an example, from feature name to bytes, str, int, float or a
                list of one of these: [{"image/encoded": data}].
            model: as for predict.
            label: as for predict.
            version: as for predict.
            signature: one whose method is classify.
            timeout_s: as for predict.
            metadata: as for predict.

        Raises:
            RequestError: something was wrong before sending.
            CallError: the call failed.
            AnswerError: the answer cannot be read.
        """
        asked = servable(model, label, version)
        return walk(
            self.core.classify(
                examples, asked, signature=signature, timeout_s=timeout_s, metadata=metadata
            )
        )

    def regress(
        self,
        examples: Iterable[Mapping[str, Any]],
        *,
        model: str,
        label: str | None = None,
        version: int | None = None,
        signature: str = contract.SIGNATURE_DEFAULT,
        timeout_s: float | None = None,
        metadata: Pairs = (),
    ) -> Regression:
        """TensorFlow Serving's Regress API: as classify, for signatures of the method regress."""
        asked = servable(model, label, version)
        return walk(
            self.core.regress(
                examples, asked, signature=signature, timeout_s=timeout_s, metadata=metadata
            )
        )

    def metadata(
        self,
        *,
        model: str = contract.MODEL_NAME,
        label: str | None = None,
        version: int | None = None,
        timeout_s: float | None = None,
    ) -> Metadata:
        """The signatures of a version, and which version a label stands for now.

        Raises:
            CallError: the call failed; NotFoundError if the version is not loaded.
            AnswerError: the answer cannot be read.
        """
        asked = servable(model, label, version)
        return walk(self.core.metadata(asked, timeout_s=timeout_s))

    def status(
        self,
        *,
        model: str = contract.MODEL_NAME,
        version: int | None = None,
        timeout_s: float | None = None,
    ) -> tuple[VersionStatus, ...]:
        """The states of the model's versions, by version.

        There is no label here, because TensorFlow Serving ignores it in this call. To wait until a
        version can answer, use wait_ready.

        Raises:
            CallError: the call failed; NotFoundError for an unknown model.
            AnswerError: the answer cannot be read.
        """
        asked = servable(model, None, version)
        return walk(self.core.status(asked, timeout_s=timeout_s))

    def reload(self, config: str, *, timeout_s: float = RELOAD_TIMEOUT_S) -> None:
        """Has the server serve what a models.config says, in place of what it serves now.

        It is never sent twice. The server answers before new versions of models that it has are
        loaded (wait_ready waits for them), and waits for new models without limit. A file that the
        server polls overrides it later.

        Args:
            config: the text of a models.config. It replaces everything: models that it does not
                name are unloaded.
            timeout_s: deadline in seconds. The server may go on after it.

        Raises:
            RequestError: the text is no such configuration.
            CallError: the server refused it, in whole, or did not answer.
        """
        return walk(self.core.reload(config, timeout_s=timeout_s))

    def wait_ready(
        self,
        label: str | None = None,
        timeout_s: float = 60.0,
        *,
        version: int | None = None,
        model: str = contract.MODEL_NAME,
    ) -> Metadata:
        """Waits until the label (or the version, or the latest one) can answer predictions.

        It asks for GetModelMetadata, which needs a loaded version; GetModelStatus answers in any
        state and ignores labels.

        Args:
            label: the label that must answer.
            timeout_s: how long to wait in all.
            version: the version that must answer, in place of a label.
            model: the servable's name.

        Returns:
            The metadata of the version that is ready.

        Raises:
            CallError: it was not ready in time (the last reason), or never can be (NotServedError,
                NotAllowedError).
        """
        asked = servable(model, label, version)
        return walk(self.core.wait_ready(asked, timeout_s))

    def _stub(self, method: str) -> Any:
        return self._channels.stub(method)

    def _channel(self) -> grpc.Channel:
        self.core.sender.check_usable()
        warn_if_calls_block()
        Grpc.used = True
        if self._credentials is None:
            return grpc.insecure_channel(self.target, options=self._arguments)
        return grpc.secure_channel(self.target, self._credentials, options=self._arguments)
