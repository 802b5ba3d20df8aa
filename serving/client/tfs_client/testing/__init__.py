"""Fakes for the tests of services that use this package: a server, clients, image classifiers.

    from tfs_client.testing import FakeServer, example_picture

    with FakeServer() as server:                          # real gRPC on a free port
        server.answers(label="defective", probability=0.9)
        client = Client(server.target)                    # or your service, given server.target

A fake answers what its script says, and the rest (signatures, states, refusals) as TensorFlow
Serving does. The script is written with three verbs, which all fakes have (see Script):

    server.answers(label="sound", probability=0.1)      the image classifier, from now on
    server.returns({"y": [3.0]})                        any other model; or a function of a Request
    server.fails(OverloadedError, times=2)              but twice this, first
    server.when(label="canary").fails(NotFoundError)    and this to whoever asks the canary
    server.answers(delay_s=0.2)                         slowly: a caller gives up at its deadline

and tells what it was asked:

    server.asked()[-1].inputs["image_bytes"]            also label, version, metadata, timeout_s
    server.wait_for(1, label="canary")                  a request that comes later, as a shadow's
    assert not server.left                              all that was scripted with times was asked

Where a script runs out, or does not fit a request, the caller gets an error that says so
(ServerError), and the end of the `with` block raises ScriptError.

FakeClassifier, and AsyncFakeClassifier for asyncio, need neither server nor port: they are real
image classifiers whose requests are answered in this process, and have the same verbs. FakeClient
and AsyncFakeClient are the same for any model:

    FakeModel("affine", inputs={"x": "float32 [N]"}, outputs={"y": "float32 [N]"})

With pytest, the fixtures `tfs_server` and `tfs_classifier` are there wherever this package is
installed. Answers with defaults, for code that only takes them: ImagePrediction.example(label=…)
and Prediction.example({"y": [3.0]}). Nothing here needs pytest, Pillow or TensorFlow.
"""

from __future__ import annotations

from tfs_client.testing.answering import Fake
from tfs_client.testing.clients import (
    AsyncFakeClassifier,
    AsyncFakeClient,
    FakeClassifier,
    FakeClient,
)
from tfs_client.testing.script import Script
from tfs_client.testing.served.fake_model import FakeModel
from tfs_client.testing.served.image_model import ImageModel
from tfs_client.testing.served.picture import example_picture
from tfs_client.testing.served.requests import Request
from tfs_client.testing.served.wording import Failure, ScriptError
from tfs_client.testing.server import FakeServer

__all__ = [
    "AsyncFakeClassifier",
    "AsyncFakeClient",
    "Failure",
    "Fake",
    "FakeClassifier",
    "FakeClient",
    "FakeModel",
    "FakeServer",
    "ImageModel",
    "Request",
    "Script",
    "ScriptError",
    "example_picture",
]
