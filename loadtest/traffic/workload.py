"""What is sent: a seeded mix of images, formats, sizes, batches, signatures and labels.

Request number n is the same on every machine for the same seed and folder, in both loops and at any
time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from PIL import Image

from foundation.command_line import InputError
from loadtest.traffic import images
from tfs_client import Client, Prediction, contract, image_to_array
from tfs_client.answers import Metadata
from tfs_client.servable import servable
from tfs_client.steps import Steps

AS_IS: Final = "as-is"
"""The file, unchanged."""

FORMATS: Final = (AS_IS, "jpeg", "png", "gif", "bmp")

SIGNATURES: Final = (contract.SIGNATURE_DEFAULT, contract.SIGNATURE_IMAGES)

MOST_IN_A_BATCH: Final = 1024

Weights = Mapping[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mix:
    """The shares of the requests: name → weight. Weights may have any sum."""

    signatures: Weights = dataclasses.field(default_factory=lambda: {SIGNATURES[0]: 1.0})
    labels: Weights = dataclasses.field(default_factory=lambda: {contract.LABEL_STABLE: 1.0})
    batches: Weights = dataclasses.field(default_factory=lambda: {"1": 1.0})
    """Images a request."""
    formats: Weights = dataclasses.field(default_factory=lambda: {AS_IS: 1.0})
    sizes: Weights = dataclasses.field(default_factory=lambda: {AS_IS: 1.0})
    """Pixels of the longer side of the pictures that are sent."""

    def check(self) -> None:
        """Refuses a mix that cannot be.

        Raises:
            InputError: naming the first reason.
        """
        for flag, weights, known in (
            ("--signature", self.signatures, SIGNATURES),
            ("--format", self.formats, FORMATS),
        ):
            for name in weights:
                if name not in known:
                    raise InputError(f"Expected {flag} of {', '.join(known)}. Received: {name}")
        for flag, weights, most in (
            ("--batch", self.batches, MOST_IN_A_BATCH),
            ("--size", self.sizes, 10_000),
        ):
            for name in weights:
                number = int(name) if name.isascii() and name.isdigit() else 0
                if not 1 <= number <= most and not (flag == "--size" and name == AS_IS):
                    raise InputError(f"Expected {flag} from 1 to {most}. Received: {name}")


def parse_weights(flag: str, text: str) -> dict[str, float]:
    """Reads "stable=9,canary=1"; a name alone weighs 1.

    Raises:
        InputError: an empty name, a name twice, or a weight that is not a number above 0.
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, weight = (word.strip() for word in part.partition("="))
        try:
            value = float(weight or 1)
        except ValueError:
            value = math.nan
        if not name or name in weights or not 0 < value < math.inf:
            raise InputError(
                f"Expected {flag} as NAME or NAME=WEIGHT,NAME=WEIGHT with weights above 0. "
                f"Received: {text!r}"
            )
        weights[name] = value
    return weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """One request."""

    number: int
    signature: str
    label: str
    pictures: tuple[str, ...]
    """Names of the pictures: path below the folder, format, size."""
    inputs: Mapping[str, Any]
    """As Client.predict takes them."""


class Describes(Protocol):
    """What `prepare` needs of a client; tfs_client's Client has it."""

    def metadata(self, *, model: str, label: str) -> Metadata:
        """The signatures of the label's version."""
        ...


class Workload:
    """All requests of a run. Once made, several threads may use it.

    Args:
        mix: checked.
        folder: of images; None means the sample set.
        seed: of every choice.
        input_sizes: label → (height, width) that its predict_images takes; needed if the mix sends
            pixels. `prepare` asks the server for them.

    Raises:
        InputError: no images, or one that cannot be read.
    """

    def __init__(
        self,
        mix: Mix,
        folder: Path | None,
        *,
        seed: int = 0,
        input_sizes: Mapping[str, tuple[int, int]] | None = None,
    ):
        self.mix = mix
        self.seed = seed
        kinds = list(itertools.product(mix.formats, mix.sizes))
        chosen = images.choose(folder, seed=seed, limit=max(1, images.LIMIT // len(kinds)))
        self.distinct = len(chosen) * len(kinds)
        """How many different pictures may be sent; all of them are held in memory."""
        self._names = [str(Path(*path.parts[-2:])) for path in chosen]
        self._formats, self._sizes = _Choice(mix.formats), _Choice(mix.sizes)
        self._signatures, self._labels = _Choice(mix.signatures), _Choice(mix.labels)
        self._batches = _Choice(mix.batches)
        self._files: dict[tuple[int, str, str], bytes] = {}
        self._pixels: dict[tuple[int, str, str, tuple[int, int]], Any] = {}
        self._input_sizes = dict(input_sizes or {})
        for (at, path), (format_, size) in itertools.product(enumerate(chosen), kinds):
            data = self._files[at, format_, size] = _encoded(path, format_, size)
            if contract.SIGNATURE_IMAGES in mix.signatures:
                for wanted in {self._input_sizes[label] for label in mix.labels}:
                    self._pixels[at, format_, size, wanted] = image_to_array(data, wanted)

    def __getitem__(self, number: int) -> Request:
        """Request number 0, 1, 2 …, without end."""
        draws = _draws(f"{self.seed}/{number}")
        signature, label = self._signatures.pick(next(draws)), self._labels.pick(next(draws))
        batch = int(self._batches.pick(next(draws)))
        keys = [
            (
                int(next(draws) * len(self._names)),
                self._formats.pick(next(draws)),
                self._sizes.pick(next(draws)),
            )
            for _ in range(batch)
        ]
        return self._request(number, signature, label, keys)

    def each_picture(self) -> Iterator[Request]:
        """Every picture that may be sent, each alone in a request, for encoding them beforehand."""
        for signature, label in itertools.product(self.mix.signatures, self.mix.labels):
            for key in self._files:
                yield self._request(0, signature, label, [key])

    def _request(
        self, number: int, signature: str, label: str, keys: Sequence[tuple[int, str, str]]
    ) -> Request:
        if signature == contract.SIGNATURE_DEFAULT:
            content = np.array([self._files[key] for key in keys], object)
            inputs = {contract.INPUT_IMAGE_BYTES: content}
        else:
            wanted = self._input_sizes[label]
            pixels = np.stack([self._pixels[at, kind, size, wanted] for at, kind, size in keys])
            inputs = {contract.INPUT_IMAGES: pixels}
        return Request(
            number=number,
            signature=signature,
            label=label,
            pictures=tuple(f"{self._names[at]}|{kind}|{size}" for at, kind, size in keys),
            inputs=inputs,
        )


def prepare(client: Describes, model: str, mix: Mix, folder: Path | None, seed: int) -> Workload:
    """Makes the workload for a server, after asking which size of pixels its versions take.

    Raises:
        InputError: no images, one that cannot be read, or a version without a fixed size.
        TfsError: the server does not answer.
    """
    sizes = {}
    if contract.SIGNATURE_IMAGES in mix.signatures:
        for label in mix.labels:
            metadata = client.metadata(model=model, label=label)
            spec = metadata.signatures[contract.SIGNATURE_IMAGES].inputs[contract.INPUT_IMAGES]
            if spec.shape is None or len(spec.shape) != 4 or None in spec.shape[1:]:
                raise InputError(
                    f"Expected {contract.INPUT_IMAGES} [N, H, W, 3] with fixed H and W in version "
                    f"{metadata.version} of {model}. Received: {spec}"
                )
            sizes[label] = (int(spec.shape[1] or 0), int(spec.shape[2] or 0))
    return Workload(mix, folder, seed=seed, input_sizes=sizes)


def send(client: Client, model: str, request: Request, timeout_s: float) -> Prediction:
    """Sends a request. Raises as Client.predict does."""
    return client.predict(
        request.inputs,
        model=model,
        label=request.label,
        signature=request.signature,
        timeout_s=timeout_s,
    )


def steps(client: Client, model: str, request: Request, timeout_s: float) -> Steps[Prediction]:
    """The same as steps, for a caller that does not wait; see tfs_client.steps."""
    return client.core.predict(
        request.inputs,
        servable(model, request.label, None),
        signature=request.signature,
        outputs=None,
        timeout_s=timeout_s,
        fallback=(),
        default=None,
        router=None,
        key=None,
        request_id="",
        metadata=(),
        shadow=None,
    )


class _Choice:
    """Picks names by weight."""

    def __init__(self, weights: Weights):
        self._names: Sequence[str] = list(weights)
        total = math.fsum(weights.values())
        self._bounds = [bound / total for bound in itertools.accumulate(weights.values())]

    def pick(self, draw: float) -> str:
        """The name that a number from 0 to below 1 falls on."""
        return self._names[min(bisect_right(self._bounds, draw), len(self._names) - 1)]


def _draws(name: str) -> Iterator[float]:
    """Numbers from 0 to below 1 that depend on the name alone, without end.

    They come from a hash and not from a random generator: a hash needs no set-up for each request,
    and is the same in every version of Python and numpy.
    """
    for block in itertools.count():
        digest = hashlib.blake2b(f"{name}/{block}".encode()).digest()
        for at in range(0, len(digest), 8):
            yield (int.from_bytes(digest[at : at + 8], "big") >> 11) * 2.0**-53


def _encoded(path: Path, format_: str, size: str) -> bytes:
    """The file, in another format or size where the mix says so."""
    data = path.read_bytes()
    if format_ == size == AS_IS:
        return data
    try:
        with Image.open(io.BytesIO(data)) as image:
            kind = image.format if format_ == AS_IS else format_.upper()
            picture = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"Expected an image that Pillow reads. Received: {path}: {error}"
        ) from error
    if size != AS_IS:
        scale = int(size) / max(picture.size)
        width, height = (max(1, round(scale * side)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    target = io.BytesIO()
    picture.save(target, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return target.getvalue()
