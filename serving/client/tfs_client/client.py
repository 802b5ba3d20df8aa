"""The client: any model that TensorFlow Serving serves, over gRPC.

    with Client("localhost:8500") as client:
        prediction = client.predict({"x": array}, model="affine", label="stable")
        print(prediction["y"], prediction.version)

Knows nothing about images, retries or asyncio. Safe to use from several threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final

import grpc

from tfs_client import channel as channels
from tfs_client import contract, messages
from tfs_client.answers import Classification, Metadata, Prediction, VersionStatus
from tfs_client.errors import (
    CallError,
    DeadlineExceededError,
    NotAllowedError,
    NotServedError,
    RequestError,
    from_rpc_error,
)
from tfs_client.wire import serving_pb2 as pb

DEFAULT_TARGET: Final = f"localhost:{contract.GRPC_PORT}"
DEFAULT_TIMEOUT_S: Final = 10.0

_POLL_S = 0.2


class Client:
    """A connection to one model server (or to all addresses behind one name).

    Opening it sends nothing: the connection is made with the first call, and made again after a
    server's restart. Close it, or use it in a `with` block.

    Args:
        target: host:port of the server's gRPC port, or gRPC's name syntax (dns:///…).
        timeout_s: deadline of every call in seconds, unless the call says otherwise.
        max_message_bytes: limit of one request or answer.
        options: further gRPC channel arguments, as (name, value) pairs; they win over ours.
        credentials: for TLS, from grpc.ssl_channel_credentials(); None means plain text.

    Raises:
        RequestError: a target, timeout or limit that cannot be.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_message_bytes: int = channels.MAX_MESSAGE_BYTES,
        options: Sequence[channels.ChannelOption] = (),
        credentials: grpc.ChannelCredentials | None = None,
    ):
        self.target = channels.check_target(target)
        self.timeout_s = _checked_timeout(timeout_s)
        if not isinstance(max_message_bytes, int) or not 0 < max_message_bytes < 2**31:
            raise RequestError(
                "Expected max_message_bytes between 1 and 2147483647. "
                f"Received: max_message_bytes={max_message_bytes!r}"
            )
        self._max_message_bytes = max_message_bytes
        self._channel = channels.open_channel(
            self.target,
            max_message_bytes=max_message_bytes,
            options=options,
            credentials=credentials,
        )
        self._stubs: dict[str, Any] = {
            call: self._channel.unary_unary(path) for call, path in channels.METHODS.items()
        }
        self._closed = False

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
        self._closed = True
        self._channel.close()

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
    ) -> Prediction:
        """Sends arrays, returns arrays.

        Args:
            inputs: input name to array (or list, number, bytes, str); see tensors.to_proto.
            model: the servable's name.
            label: ask the version that this label points at, or
            version: ask this version; with neither, the server's latest.
            signature: which of the model's signatures.
            outputs: the outputs wanted; None means all.
            timeout_s: deadline of this call in seconds; None means the client's.

        Raises:
            RequestError: something was wrong before sending.
            CallError: the call failed; its subclass and `code` say how.
            AnswerError: the answer contradicts itself.
        """
        spec = messages.model_spec(model, label=label, version=version, signature=signature)
        request = messages.encode(messages.predict_request(spec, inputs, outputs))
        data, latency_s = self._call("Predict", request, timeout_s)
        response = messages.decode(pb.PredictResponse, data)
        return messages.read_prediction(
            response, latency_s=latency_s, max_bytes=self._max_message_bytes
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
    ) -> Classification:
        """TensorFlow Serving's Classify API.

        Args:
            examples: one mapping an example, from feature name to bytes, str, int, float or a
                list of one of these: [{"image/encoded": data}].
            model: as in predict; so are label, version and timeout_s.
            label: see there.
            version: see there.
            signature: one whose method is classify.
            timeout_s: see there.

        Raises:
            RequestError: something was wrong before sending.
            CallError: the call failed.
            AnswerError: the answer cannot be read.
        """
        spec = messages.model_spec(model, label=label, version=version, signature=signature)
        request = messages.encode(messages.classify_request(spec, examples))
        data, latency_s = self._call("Classify", request, timeout_s)
        response = messages.decode(pb.ClassificationResponse, data)
        return messages.read_classification(response, latency_s=latency_s)

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
        spec = messages.model_spec(model, label=label, version=version)
        request = messages.encode(messages.metadata_request(spec))
        data, _ = self._call("GetModelMetadata", request, timeout_s)
        return messages.read_metadata(messages.decode(pb.GetModelMetadataResponse, data))

    def status(
        self,
        *,
        model: str = contract.MODEL_NAME,
        version: int | None = None,
        timeout_s: float | None = None,
    ) -> tuple[VersionStatus, ...]:
        """The states of the model's versions, by version.

        There is no label here: TensorFlow Serving ignores it in this call. It is no readiness
        either; that is wait_ready.

        Raises:
            CallError: the call failed; NotFoundError for an unknown model.
            AnswerError: the answer cannot be read.
        """
        spec = messages.model_spec(model, version=version)
        request = messages.encode(messages.status_request(spec))
        data, _ = self._call("GetModelStatus", request, timeout_s)
        return messages.read_status(messages.decode(pb.GetModelStatusResponse, data))

    def wait_ready(
        self,
        label: str | None = None,
        timeout_s: float = 60.0,
        *,
        version: int | None = None,
        model: str = contract.MODEL_NAME,
    ) -> Metadata:
        """Waits until the label (or the version, or the latest one) can answer predictions.

        Readiness is GetModelMetadata: it takes a real handle to the version, while GetModelStatus
        answers in any state and ignores labels.

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
        end = time.monotonic() + _checked_timeout(timeout_s)
        reason: CallError | None = None
        while True:
            left_s = end - time.monotonic()
            try:
                return self.metadata(
                    model=model,
                    label=label,
                    version=version,
                    timeout_s=max(0.001, min(left_s, self.timeout_s)),
                )
            except (NotServedError, NotAllowedError):
                raise
            except CallError as error:
                # The last try may only be cut short: the reason before it says more.
                if reason is None or not isinstance(error, DeadlineExceededError):
                    reason = error
            if end - time.monotonic() <= _POLL_S:
                reason.timeout_s = timeout_s
                reason.args = (reason.sentence(),)
                raise reason
            time.sleep(_POLL_S)

    def _call(self, call: str, request: bytes, timeout_s: float | None) -> tuple[bytes, float]:
        """The one place where something is sent: bytes in, bytes and seconds out."""
        timeout_s = self.timeout_s if timeout_s is None else _checked_timeout(timeout_s)
        if self._closed:
            raise RequestError("Expected an open client. Received: a closed one; open a new one")
        start = time.perf_counter()
        try:
            data: bytes = self._stubs[call](request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise from_rpc_error(
                error, target=self.target, call=call, timeout_s=timeout_s
            ) from error
        return data, time.perf_counter() - start


def _checked_timeout(timeout_s: float) -> float:
    if (
        isinstance(timeout_s, bool)
        or not isinstance(timeout_s, (int, float))
        or not 0 < timeout_s < math.inf
    ):
        raise RequestError(
            "Expected timeout_s as a number of seconds above 0: every call has a deadline. "
            f"Received: timeout_s={timeout_s!r}"
        )
    return float(timeout_s)
