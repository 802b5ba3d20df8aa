"""What a client knows of the versions it asks: their signatures, and how requests are built.

The server is asked once, and again when another version answers or an input does not fit: a label
may have moved. All threads or tasks of a client share one Known without a lock; at worst two of
them ask the server the same at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfs_client.answers import Metadata
from tfs_client.errors import RequestError, SignatureError
from tfs_client.servable import Servable
from tfs_client.wire import messages
from tfs_client.wire.encoding import RequestTemplate
from tfs_client.wire.inputs import (
    as_array,
    check_inputs,
    check_mapping,
    check_outputs,
    find_signature,
)


class KnownRequest:
    """How requests to one servable's signature are checked and encoded.

    Args:
        servable: the one that they ask.
        signature: its name.
        outputs: the outputs wanted; empty means all.
        metadata: of the version that answers; None checks nothing.

    Raises:
        SignatureError: the version has no such signature.
        OutputNameError: the signature has no such output.
        RequestError: a name that cannot be sent.
    """

    __slots__ = ("_inputs", "metadata", "name", "signature", "template")

    def __init__(
        self,
        servable: Servable,
        signature: str,
        outputs: tuple[str, ...],
        metadata: Metadata | None,
    ):
        self.metadata = metadata
        self.name = signature
        self.signature = None
        if not isinstance(signature, str):
            raise _no_name(signature)
        if metadata is not None:
            self.signature = find_signature(metadata, signature)
            if outputs:
                check_outputs(self.signature, outputs)
        try:
            spec = messages.model_spec(
                servable.model, label=servable.label, version=servable.version, signature=signature
            )
            self.template = RequestTemplate(spec, outputs)
        except UnicodeEncodeError as error:
            raise RequestError(
                "Expected the names of model, label, signature and outputs as text that UTF-8 has. "
                f"Received: {error}"
            ) from error
        self._inputs = -1 if self.signature is None else len(self.signature.inputs)

    def encode(self, inputs: Mapping[str, Any]) -> bytes:
        """The request's bytes.

        Inputs are checked, unless their names, dtypes and shapes are those of inputs that fitted
        before.

        Raises:
            RequestError: they do not fit; its subclass says how.
        """
        if self._inputs == len(inputs):
            # Names that are known and as many as there are: all of them.
            request = self.template.encode_known(inputs)
            if request is not None:
                return request
        check_mapping(inputs, may_be_empty=True)
        if self.signature is None:
            arrays = {name: as_array(value, f"input {name!r}") for name, value in inputs.items()}
        else:
            arrays = check_inputs(self.signature, inputs)
        return self.template.encode(arrays)


def _no_name(signature: Any) -> SignatureError:
    return SignatureError(
        f"Expected signature as a name such as 'serving_default'. Received: signature={signature!r}"
    )


class Known:
    """All that one client knows."""

    def __init__(self) -> None:
        self._current: dict[str, Metadata] = {}
        """Servable's name → metadata of the version that answers for it now."""
        self._requests: dict[tuple[str, str, tuple[str, ...]], KnownRequest] = {}
        self._versions: dict[tuple[str, int], Metadata] = {}
        """Model and version → its metadata, also of versions that answered earlier."""
        self._unknown_answers: dict[tuple[str, int], int] = {}
        """Model and version without known metadata → how often it answered."""
        self._unknown_version: dict[str, int] = {}
        """Servable's name → such a version, to be asked about next."""

    def metadata(self, servable: Servable) -> Metadata | None:
        """Of the version that answered for it last."""
        return self._current.get(servable.name)

    def learn(self, servable: Servable, metadata: Metadata) -> None:
        """The server's answer about a servable, as of now."""
        self.forget(servable)
        self._current[servable.name] = metadata
        version = (metadata.model, metadata.version)
        self._versions[version] = metadata
        self._unknown_answers.pop(version, None)

    def request(
        self, servable: Servable, signature: str, outputs: tuple[str, ...], *, check: bool = True
    ) -> KnownRequest | None:
        """How to build requests to it; None if its metadata has to be asked for first.

        Raises:
            SignatureError: the version has no such signature.
            OutputNameError: the signature has no such output.
        """
        key = (servable.name, signature, outputs)
        try:
            request = self._requests.get(key)
        except TypeError as error:  # a list, say
            raise _no_name(signature) from error
        if request is None:
            metadata = self._current.get(servable.name)
            if check and metadata is None:
                return None
            request = KnownRequest(servable, signature, outputs, metadata if check else None)
            self._requests[key] = request
        return request

    def answered(self, servable: Servable, version: int) -> None:
        """Another version answered than the one that is known: the label moved, say.

        One that is known from before takes its place at once, so that pods that disagree for a
        while cost no question each time. One that is unknown is asked about before the next call.
        """
        metadata = self._versions.get((servable.model, version))
        if metadata is not None:
            self.forget(servable)
            self._current[servable.name] = metadata
        elif self._is_to_be_asked(servable.model, version):
            self.forget(servable)
            self._unknown_version[servable.name] = version

    def _is_to_be_asked(self, model: str, version: int) -> bool:
        """Whether to ask about an unknown version that answered: after its answers 1, 2, 4, 8, …

        The question may reach a pod that does not have the version, each time anew; then it is
        asked ever more seldom.
        """
        times = self._unknown_answers.get((model, version), 0) + 1
        self._unknown_answers[model, version] = times
        return times.bit_count() == 1

    def unknown_version(self, servable: Servable) -> int | None:
        """The version that answered last, if nothing is known of it; told once.

        It is to be asked about by its number: among pods that disagree, the one that is asked what
        the label means need not be the one that answers.
        """
        return self._unknown_version.pop(servable.name, None)

    def forget(self, servable: Servable) -> None:
        """It is to be asked about anew."""
        self._current.pop(servable.name, None)
        for key in [key for key in list(self._requests) if key[0] == servable.name]:
            self._requests.pop(key, None)

    def clear(self) -> None:
        """Everything is to be asked anew: the server was given another configuration."""
        self._current.clear()
        self._requests.clear()
        self._versions.clear()
        self._unknown_answers.clear()
        self._unknown_version.clear()
