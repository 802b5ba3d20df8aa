"""What a FakeServer says without a script is what the real server says about the real model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tfs_client import CallError, Client
from tfs_client.testing import FakeServer, example_picture

PIXELS = np.zeros((1, 64, 64, 3), np.uint8)


def predict(**asked: Any) -> Callable[[Client], Any]:
    inputs = asked.pop("inputs", {"image_bytes": [example_picture()]})
    return lambda client: client.predict(inputs, **asked)


def pixels(array: Any) -> Callable[[Client], Any]:
    return predict(inputs={"images": array}, signature="predict_images")


REFUSED = {
    "unknown label": predict(label="nope"),
    "unknown version": predict(version=9),
    "unknown model": predict(model="no"),
    "label of an unknown model": predict(model="no", label="stable"),
    "unknown signature": predict(signature="no"),
    "unknown output": predict(outputs=["no"]),
    "no input": predict(inputs={}),
    "another input": predict(inputs={"x": [b""]}),
    "one input too many": predict(inputs={"image_bytes": [b""], "x": [b""]}),
    "files as numbers": predict(inputs={"image_bytes": [1.0]}),
    "files of rank 2": predict(inputs={"image_bytes": [[b""]]}),
    "too many rows": predict(inputs={"image_bytes": [b""] * 1025}),
    "pixels as floats": pixels(PIXELS.astype(np.float32)),
    "pixels of another size": pixels(PIXELS[:, :32]),
    "pixels without rows": pixels(PIXELS[0]),
    "status of an unknown model": lambda client: client.status(model="no"),
    "status of an unknown version": lambda client: client.status(version=9),
    "metadata of an unknown version": lambda client: client.metadata(version=9),
    "metadata of an unknown label": lambda client: client.metadata(label="nope"),
    "classify on a signature of predict": lambda client: client.classify(
        [{"x": 1.0}], signature="serving_default"
    ),
    "classify on an unknown signature": lambda client: client.classify([{"x": 1}], signature="no"),
    "regress on a signature of classify": lambda client: client.regress(
        [{"x": 1.0}], model="image_classifier", signature="classify"
    ),
}


@pytest.fixture(scope="module")
def both(served: tuple) -> Iterator[tuple[Client, Client]]:
    """Clients that check nothing themselves: of the real server, and of a fake one."""
    settings: dict[str, Any] = {"retry": None, "breaker": None, "check_inputs": False}
    with (
        FakeServer() as fake,
        Client(served[0], **settings) as of_real,
        Client(fake.target, **settings) as of_fake,
    ):
        yield of_real, of_fake


def said(error: CallError) -> str:
    """The server's words without names that an export's graph gives, and what follows them."""
    words = re.sub(r"feed name: [^)]*|Shape of tensor \S+", "…", error.details)
    return words.partition("\n")[0]


@pytest.mark.parametrize("name", REFUSED)
def test_both_refuse_with_the_same_code_and_words(both: tuple[Client, Client], name: str) -> None:
    errors = []
    for client in both:
        with pytest.raises(CallError) as caught:
            REFUSED[name](client)
        errors.append(caught.value)
    real, fake = errors
    assert (type(fake), fake.code) == (type(real), real.code)
    assert said(fake) == said(real)


def test_both_name_the_same_signatures_and_states(both: tuple[Client, Client]) -> None:
    real, fake = (client.metadata(label="stable") for client in both)
    assert fake == real
    assert both[1].status() == both[0].status()


def test_both_answer_files_that_are_no_pictures_alike(both: tuple[Client, Client]) -> None:
    files = [example_picture(), b"no picture", b"", example_picture()[:20]]
    real, fake = (client.predict({"image_bytes": files}, label="stable") for client in both)
    assert sorted(fake.outputs) == sorted(real.outputs)
    for name in real.outputs:
        assert (fake[name].dtype, fake[name].shape) == (real[name].dtype, real[name].shape)
    assert fake["valid"].tolist() == real["valid"].tolist() == [True, False, False, False]
    for found in (real, fake):
        assert found["label"].tolist()[1:] == [b""] * 3
        assert np.isnan(found["probability"][1:]).all()
        assert found["needs_review"][1:].all()
