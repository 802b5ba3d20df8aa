"""The server that most tests ask: a FakeServer with two versions of two models.

Of the image classifier, an image's probability is a tenth of the version's number. The model echo
answers what it is sent. To make the server misbehave, put a function into `handlers`.
"""

from __future__ import annotations

from typing import Any

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


class Echo(FakeModel):
    """Takes any inputs, as if its graph did."""

    def check(self, request: Request, version: int) -> None:
        """Refuses nothing: what the client checks is to be seen."""


class ModelServer(FakeServer):
    """Its arguments are FakeServer's."""

    def __init__(self, **settings: Any):
        images = ImageModel(
            image_size={1: (64, 64), 2: (48, 32)}, labels={"stable": 1, "canary": 2}
        )
        echo = Echo("echo", signatures={one.name: one for one in ECHOES}, versions=(1, 2))
        echo.labels = self.labels = images.labels
        super().__init__(images, echo, **settings)
        self.when(model=images.name).returns(_defective)
        self.when(model="echo").returns(_echo)
        self.when(model=images.name, call="Regress").returns(_sums)


def _defective(request: Request) -> ImagePrediction:
    return ImagePrediction.example("defective", request.answered_version / 10)


def _echo(request: Request) -> dict[str, Any]:
    return dict(request.inputs)


def _sums(request: Request) -> list[float]:
    return [request.answered_version * sum(one["x"]) for one in request.examples]
