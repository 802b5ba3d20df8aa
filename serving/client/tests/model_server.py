"""The server that most tests ask: a FakeServer with two versions of two models.

Of the image classifier, an image's probability is a tenth of the version's number. The model echo
answers what it is sent. To make the server misbehave, put a function into `handlers`.
"""

from __future__ import annotations

import io
from typing import Any

from PIL import Image, UnidentifiedImageError

from tfs_client import Signature, TensorSpec, contract
from tfs_client.answers import ImagePrediction
from tfs_client.testing import FakeModel, FakeServer, ImageModel, Request


def _echoing(name: str, **specs: TensorSpec) -> Signature:
    return Signature(name=name, method=contract.METHOD_PREDICT, inputs=specs, outputs=specs)


_FLOATS = TensorSpec(dtype="float32", shape=None)

ECHOES = (
    _echoing("serving_default", x=_FLOATS),
    _echoing("echoing", x=_FLOATS, words=TensorSpec(dtype="string", shape=None)),
    _echoing(
        "pair",
        a=TensorSpec(dtype="float32", shape=(None,)),
        b=TensorSpec(dtype="float32", shape=(None,)),
    ),
    _echoing("pixels", x=TensorSpec(dtype="uint8", shape=(None, 2, 3))),
    _echoing("bytes", x=TensorSpec(dtype="uint8", shape=None)),
    _echoing("constant"),
)


class Images(ImageModel):
    """Gives a tenth of the version's number; what Pillow cannot decode is not valid."""

    def answer(self, request: Request) -> Any:
        """One answer an image."""
        good = ImagePrediction.example("defective", request.answered_version / 10)
        broken = ImagePrediction.example(valid=False)
        files = self.files_of(request)
        return [good if file is None or _is_image(file) else broken for file in files]


class Echo(FakeModel):
    """Answers its inputs, whatever they are; of examples the sum of x, times the version."""

    def check(self, request: Request, version: int) -> None:
        """Refuses nothing: what the client checks is to be seen."""

    def answer(self, request: Request) -> Any:
        """The inputs."""
        if request.call == "Regress":
            return [request.answered_version * sum(one["x"]) for one in request.examples]
        return dict(request.inputs)


class ModelServer(FakeServer):
    """Its arguments are FakeServer's."""

    def __init__(self, **settings: Any):
        images = Images(image_size={1: (64, 64), 2: (48, 32)}, labels={"stable": 1, "canary": 2})
        echo = Echo("echo", signatures={one.name: one for one in ECHOES}, versions=(1, 2))
        echo.labels = self.labels = images.labels
        super().__init__(images, echo, **settings)


def _is_image(content: bytes) -> bool:
    try:
        Image.open(io.BytesIO(content)).load()
    except (UnidentifiedImageError, OSError):
        return False
    return True
