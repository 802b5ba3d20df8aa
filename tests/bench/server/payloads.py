"""What the callers send, and whether what comes back is right.

TensorFlow computes the right answers beforehand, in another process.
"""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadtest.traffic import images
from tfs_client import contract, image_to_array
from tfs_client.protocol import decode, from_proto, messages as pb, to_proto

FILES: Final = 64
"""Different images; they are sent in turn."""

TOLERANCE: Final = 1e-4
"""Of a probability: a batch is not computed in the order of a single row."""

CHECKED_EVERY: Final = 50
"""One answer in so many is parsed and compared; of the others the length is checked."""


@dataclasses.dataclass(frozen=True)
class Expected:
    """The right answers, one a request, as they were computed in process."""

    probabilities: Sequence[float]
    labels: Sequence[str]

    def wrong(self, index: int, probability: float, label: str) -> str:
        """What is wrong with an answer; empty if nothing."""
        near = abs(probability - self.probabilities[index]) <= TOLERANCE
        if near and label == self.labels[index]:
            return ""
        return (
            f"image {index}: expected {self.probabilities[index]:.6f} {self.labels[index]}, "
            f"received {probability:.6f} {label}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Material:
    """What is sent to every server, and what every server should answer."""

    files: Sequence[bytes]
    """Contents."""
    pixels: NDArray[np.uint8]
    """[N, height, width, 3]: the files as a client that resizes for itself would send them."""
    expected: Mapping[str, Expected]
    """By signature."""

    def grpc_requests(self, signature: str) -> list[bytes]:
        """Serialized PredictRequests of one image each."""
        if signature == contract.SIGNATURE_DEFAULT:
            return [_request(signature, contract.INPUT_IMAGE_BYTES, [row]) for row in self.files]
        return [_request(signature, contract.INPUT_IMAGES, row[np.newaxis]) for row in self.pixels]


def choose_files() -> list[Path]:
    """Files of the sample set, the same ones each time."""
    return images.choose(None, seed=0, limit=FILES)


def pixels(files: Sequence[Path], height: int, width: int) -> NDArray[np.uint8]:
    """Decodes and resizes, see Material.pixels."""
    return np.stack([image_to_array(file, (height, width)) for file in files])


def _request(signature: str, alias: str, value: Any) -> bytes:
    request = pb.PredictRequest()
    request.model_spec.name = contract.MODEL_NAME
    request.model_spec.version_label = contract.LABEL_STABLE
    request.model_spec.signature_name = signature
    request.inputs[alias].CopyFrom(to_proto(value))
    return request.SerializeToString()


class GrpcCheck:
    """Checks serialized PredictResponses: the length of each, the content of some."""

    def __init__(self, expected: Expected) -> None:
        self._expected = expected
        self._lengths: dict[int, int] = {}
        self._seen = itertools.count()

    def __call__(self, index: int, data: bytes) -> str:
        """See load.Check."""
        known = self._lengths.get(index)
        if known == len(data) and next(self._seen) % CHECKED_EVERY:
            return ""
        response = decode(pb.PredictResponse, data)
        found = {name: from_proto(proto) for name, proto in response.outputs.items()}
        if set(found) != set(contract.PREDICT_OUTPUTS):
            return f"image {index}: outputs {sorted(found)}"
        probability = float(found[contract.OUTPUT_PROBABILITY].item())
        label = found[contract.OUTPUT_LABEL].item().decode()
        wrong = self._expected.wrong(index, probability, label)
        if not wrong:
            self._lengths[index] = len(data)
        return wrong


class JsonCheck:
    """Checks JSON; HTTP itself shows whether an answer is whole.

    Args:
        expected: the right answers.
        read: JSON → (probability, label).
    """

    def __init__(self, expected: Expected, read: Callable[[Any], tuple[float, str]]) -> None:
        self._expected = expected
        self._read = read
        self._seen = itertools.count()

    def __call__(self, index: int, data: bytes) -> str:
        """See load.Check."""
        if next(self._seen) % CHECKED_EVERY:
            return "" if data else "an empty answer"
        return self._expected.wrong(index, *self._read(json.loads(data)))


class LengthCheck:
    """Checks an echo."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __call__(self, index: int, data: bytes) -> str:
        """See load.Check."""
        return "" if len(data) == self._length else f"{len(data)} bytes"


@dataclasses.dataclass(frozen=True)
class Http:
    """One way to send files over HTTP."""

    path: str
    content_type: str
    bodies: Sequence[bytes]
    """Of one image each."""
    check: JsonCheck


def _predictions(answer: Any) -> tuple[float, str]:
    (row,) = answer["predictions"]
    return row[contract.OUTPUT_PROBABILITY], row[contract.OUTPUT_LABEL]


def _outputs(answer: Any) -> tuple[float, str]:
    found = {output["name"]: output["data"][0] for output in answer["outputs"]}
    return found[contract.OUTPUT_PROBABILITY], found[contract.OUTPUT_LABEL]


def _instances(path: str, files: Sequence[bytes], expected: Expected) -> Http:
    bodies = [json.dumps({"instances": [{"b64": _b64(file)}]}).encode() for file in files]
    return Http(path, "application/json", bodies, JsonCheck(expected, _predictions))


def _open_inference(files: Sequence[bytes], expected: Expected) -> Http:
    """The Open Inference Protocol, which MLServer speaks."""
    tensor = {"name": contract.INPUT_IMAGE_BYTES, "shape": [1], "datatype": "BYTES"}
    bodies = [json.dumps({"inputs": [{**tensor, "data": [_b64(file)]}]}).encode() for file in files]
    path = f"/v2/models/{contract.MODEL_NAME}/infer"
    return Http(path, "application/json", bodies, JsonCheck(expected, _outputs))


def _b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


HTTP: Final[Mapping[str, Callable[[Sequence[bytes], Expected], Http]]] = {
    "rest": lambda files, expected: _instances(
        f"/v1/models/{contract.MODEL_NAME}/labels/{contract.LABEL_STABLE}:predict", files, expected
    ),
    "fastapi_b64": lambda files, expected: _instances("/json", files, expected),
    "fastapi_bytes": lambda files, expected: Http(
        "/file",
        "application/octet-stream",
        files,
        JsonCheck(expected, _predictions),
    ),
    "mlserver": _open_inference,
}
"""What is sent over HTTP, by the target's name."""
