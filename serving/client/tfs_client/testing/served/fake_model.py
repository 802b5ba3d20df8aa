"""What a fake has to offer: models with their versions, labels and signatures.

A request is checked as TensorFlow Serving checks it, in its order and with its words, but no graph
is run: what is answered is scripted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import grpc

from tfs_client import contract
from tfs_client.answers import Signature, TensorSpec
from tfs_client.testing.served.requests import Request
from tfs_client.testing.served.wording import Failure, ScriptError
from tfs_client.wire import tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

AVAILABLE: Final = "AVAILABLE"

_SPEC: Final = re.compile(r"(\w+)(?: \[([\dN, ]*)\])?")
_TENSORFLOW_NAMES: Final = {"float32": "float", "float64": "double", "float16": "half"}
_INVALID: Final = grpc.StatusCode.INVALID_ARGUMENT
_DTYPES: Final = frozenset(kind.name for kind in tensors.KINDS)


class FakeModel:
    """A model that a fake serves.

    Args:
        name: the servable's name.
        inputs: of its signature serving_default: tensor name to TensorSpec, or to its text, such as
            "float32 [N, 4]", "string [N]", or "float32" where any shape fits.
        outputs: the same of what it answers.
        signatures: further signatures by name, or all of them where there are no inputs and
            outputs.
        versions: that are loaded; None means those that the labels point at, or 1.
        labels: label to version; None means "stable" for the lowest version.

    Attributes:
        name: as given.
        versions: version to state: "AVAILABLE" ones answer; others (such as "LOADING") and those
            that are missing do not. A test may change it at any time.
        labels: label to version; may be changed too.

    Raises:
        ScriptError: no name, no signature, a spec that cannot be read, a label of a version that
            there is not.
    """

    def __init__(
        self,
        name: str,
        *,
        inputs: Mapping[str, TensorSpec | str] | None = None,
        outputs: Mapping[str, TensorSpec | str] | None = None,
        signatures: Mapping[str, Signature] | None = None,
        versions: Iterable[int] | None = None,
        labels: Mapping[str, int] | None = None,
    ):
        if not isinstance(name, str) or not name:
            raise ScriptError(f"Expected a model's name as a text. Received: name={name!r}")
        self.name = name
        self._signatures = dict(signatures or {})
        if inputs is not None or outputs is not None:
            self._signatures[contract.SIGNATURE_DEFAULT] = Signature(
                name=contract.SIGNATURE_DEFAULT,
                method=contract.METHOD_PREDICT,
                inputs=specs(inputs or {}),
                outputs=specs(outputs or {}),
            )
        numbers = sorted({*(labels or {}).values()} or {1}) if versions is None else [*versions]
        self.versions: dict[int, str] = dict.fromkeys(numbers, AVAILABLE)
        first = {contract.LABEL_STABLE: min(numbers)} if numbers else {}
        self.labels: dict[str, int] = first if labels is None else dict(labels)
        lost = {label: one for label, one in self.labels.items() if one not in self.versions}
        if lost:
            raise ScriptError(
                f"Expected labels of versions of {name}, which are {numbers}. Received: {lost}"
            )
        if type(self) is FakeModel and not self._signatures:
            raise ScriptError(
                f"Expected inputs and outputs of {name}, or its signatures. Received: none; such "
                f'as FakeModel({name!r}, inputs={{"x": "float32 [N]"}}, outputs={{"y": "float32 '
                '[N]"})'
            )

    def __repr__(self) -> str:
        """Name, versions and labels."""
        return f"{type(self).__name__}({self.name!r}, {self.versions}, {self.labels})"

    def signatures_of(self, version: int) -> Mapping[str, Signature]:
        """What a version can be asked, by the signatures' names."""
        return self._signatures

    def answer(self, request: Request) -> Any:
        """What is answered where nothing is scripted; a model of a test's own may override it.

        Returns:
            What Script.returns takes, or None where that has to be scripted.
        """
        return None

    def version_of(self, label: str | None, version: int | None) -> int:
        """The version that answers.

        Raises:
            Failure: none does.
        """
        if label is not None:
            if label not in self.labels:
                raise Failure(_INVALID, f"Unrecognized servable version label: {label}")
            version = self.labels[label]
        loaded = [one for one, state in self.versions.items() if state == AVAILABLE]
        if version is None and loaded:
            return max(loaded)
        if version not in loaded:
            asked = f"Latest({self.name})"
            if version is not None:
                asked = f"Specific({self.name}, {version})"
            raise Failure(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {asked}")
        return version

    def check(self, request: Request, version: int) -> None:
        """Refuses what a server would refuse of a Predict, Classify or Regress.

        Raises:
            Failure: in its words.
        """
        name = request.signature or contract.SIGNATURE_DEFAULT
        signature = self.signatures_of(version).get(name)
        if request.call != "Predict":
            _check_examples(request, signature, name)
            return
        if signature is None:
            text = f'Serving signature key "{name}" not found.'
            raise Failure(grpc.StatusCode.FAILED_PRECONDITION, text)
        if request.problem:
            raise Failure(_INVALID, request.problem)
        _check_inputs(request.inputs, signature)
        for at, output in enumerate(request.outputs):
            if output not in signature.outputs:
                raise Failure(
                    _INVALID,
                    f"output tensor alias not found in signature: {output} Outputs expected to be "
                    f"in the set {{{','.join(sorted(signature.outputs))}}}.",
                )
            if output in request.outputs[:at]:
                raise Failure(_INVALID, f"duplicate output tensor alias: {output}")


def _check_inputs(inputs: Mapping[str, NDArray[Any]], signature: Signature) -> None:
    sent, wanted = sorted(inputs), sorted(signature.inputs)
    needed = [name for name in wanted if not signature.inputs[name].optional]
    if len(sent) > len(wanted) or len(sent) < len(needed):
        extra = ",".join(name for name in sent if name not in wanted)
        missing = ",".join(name for name in needed if name not in sent)
        raise Failure(
            _INVALID,
            f"input size does not match signature: {len(sent)}!={len(wanted)} "
            f"len({{{','.join(sent)}}}) != len({{{','.join(wanted)}}}). Sent extra: {{{extra}}}. "
            f"Missing but required: {{{missing}}}.",
        )
    for at, name in enumerate(wanted):
        if name not in inputs:
            if signature.inputs[name].optional:
                continue
            raise Failure(
                _INVALID,
                f"Signature input alias: {name}(feed name: {name}:0) not found in request and no "
                "default value provided. Inputs expected to be in the request "
                f"{{{','.join(sent)}}}, or default input alias set: ",
            )
        received = tensors.kind_of(inputs[name]).name
        if received != signature.inputs[name].dtype:
            raise Failure(
                _INVALID,
                f"Expects arg[{at}] to be {_tensorflow_name(signature.inputs[name].dtype)} but "
                f"{_tensorflow_name(received)} is provided",
            )


def _check_examples(request: Request, signature: Signature | None, name: str) -> None:
    if signature is None:
        raise Failure(_INVALID, f"No signature was found with the name: {name}")
    # TensorFlow Serving counts tensors; the method's name it looks at only where a flag says so.
    classifies = request.call == "Classify"
    if signature.method == f"tensorflow/serving/{request.call.lower()}":
        if not request.examples:
            raise Failure(_INVALID, "Input is empty.")
        return
    if len(signature.inputs) != 1:
        raise Failure(_INVALID, "Expected one input Tensor.")
    if classifies and len(signature.outputs) not in (1, 2):
        found = len(signature.outputs)
        raise Failure(_INVALID, f"Expected one or two output Tensors, found {found}")
    if not classifies and len(signature.outputs) != 1:
        raise Failure(_INVALID, "Expected one output Tensor.")
    kind = "classification" if classifies else "regression"
    raise Failure(_INVALID, f"No {kind} inputs found in SignatureDef: {name}")


def specs(given: Mapping[str, TensorSpec | str]) -> dict[str, TensorSpec]:
    """Tensor name to TensorSpec, from their texts.

    Raises:
        ScriptError: a text that is none.
    """
    return {name: one if isinstance(one, TensorSpec) else _spec(one) for name, one in given.items()}


def _spec(text: str) -> TensorSpec:
    """A TensorSpec from what its own text is, such as "float32 [N, 4]"."""
    found = _SPEC.fullmatch(text.removesuffix(" of any shape")) if isinstance(text, str) else None
    sizes = [one.strip() for one in (found[2] or "").split(",")] if found else []
    whole = all(one == "N" or one.isdigit() for one in sizes) or sizes == [""]
    if found is None or found[1] not in _DTYPES or not whole:
        raise ScriptError(
            "Expected a tensor as its dtype and shape, such as 'float32 [N, 4]', 'string [N]' or "
            f"'float32' (any shape). Received: {text!r}"
        )
    if found[2] is None:
        return TensorSpec(dtype=found[1], shape=None)
    shape = tuple(None if one == "N" else int(one) for one in sizes if one)
    return TensorSpec(dtype=found[1], shape=shape)


def _tensorflow_name(dtype: str) -> str:
    return _TENSORFLOW_NAMES.get(dtype, dtype)
