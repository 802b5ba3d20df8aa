"""Classifiers and clients without a server: the real ones, but for the connection."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time

import numpy as np
import pytest

from tfs_client import (
    AsyncClient,
    AsyncImageClassifier,
    Client,
    DeadlineExceededError,
    ImageClassifier,
    ImageError,
    ImagePrediction,
    NotFoundError,
    OverloadedError,
    Prediction,
    RequestError,
    Retry,
    Router,
    Servable,
    Shadow,
)
from tfs_client.testing import (
    AsyncFakeClassifier,
    AsyncFakeClient,
    FakeClassifier,
    FakeClient,
    FakeModel,
    example_picture,
)

AFFINE = {"inputs": {"x": "float32 [N]"}, "outputs": {"y": "float32 [N]"}}


@pytest.fixture
def fake():
    with FakeClassifier() as classifier:
        yield classifier


def test_it_answers_as_scripted_without_opening_a_connection(fake, monkeypatch):
    monkeypatch.setattr("grpc.insecure_channel", None)
    fake.answers(label="defective", probability=0.75)
    fake.fails(NotFoundError, times=1)
    with pytest.raises(NotFoundError, match=r"Servable not found for request: Latest\(image"):
        fake.predict(example_picture())
    answer = fake.predict(example_picture(), request_id="order-17")
    assert (answer.label, answer.probability, answer.request_id) == ("defective", 0.75, "order-17")
    assert answer.answered_by == "image_classifier/labels/stable"
    assert fake.asked()[-1].request_id == "order-17"


def test_both_faces_are_the_real_classifiers_and_take_their_arguments():
    for fake, real in (
        (FakeClassifier, ImageClassifier),
        (AsyncFakeClassifier, AsyncImageClassifier),
        (FakeClient, Client),
        (AsyncFakeClient, AsyncClient),
    ):
        assert issubclass(fake, real)
        for name in ("predict", "predict_many", "stream", "input_size", "status"):
            if hasattr(real, name):
                assert getattr(fake, name) is getattr(real, name)
    taken = inspect.signature(FakeClassifier).parameters.keys()
    assert taken == inspect.signature(AsyncFakeClassifier).parameters.keys()
    own = inspect.signature(ImageClassifier).parameters.keys() - {"client"}
    assert taken - own == {"models", "observers"}
    assert own <= taken


def test_pictures_are_checked_and_marked_as_by_the_real_one(fake, tmp_path):
    with pytest.raises(ImageError, match="begin as HTML"):
        fake.predict(b"<html>")
    with pytest.raises(RequestError, match="use predict_many"):
        fake.predict([example_picture()])
    (tmp_path / "cell.png").write_bytes(example_picture())
    fake.answers(label="defective")
    found = list(fake.stream([tmp_path / "cell.png", b"<html>", np.zeros((64, 64, 3), np.uint8)]))
    assert [one.label for one in found] == ["defective", "", "defective"]
    assert found[0].source == str(tmp_path / "cell.png")
    assert "ImageError" in found[1].reason
    assert fake.input_size() == (64, 64)


def test_a_failure_reaches_the_caller_at_once_and_no_circuit_opens(fake):
    fake.fails(OverloadedError, times=30)
    for _ in range(30):
        with pytest.raises(OverloadedError):
            fake.predict(example_picture())
    assert len(fake.asked()) == 30
    fake.answers()
    assert fake.predict(example_picture()).valid


def test_fallbacks_routers_shadows_and_defaults_work_as_in_production():
    chain = [Servable(version=2)]
    with FakeClassifier(label="trial", fallback=chain, default=True) as fake:
        fake.when(label="trial").fails(OverloadedError)
        fake.when(version=2).answers(label="defective", times=1)
        fake.when(version=2).fails(NotFoundError)
        answer = fake.predict(example_picture())
        assert (answer.label, answer.model_version) == ("defective", 2)
        assert "OverloadedError" in answer.reason
        assert fake.predict(example_picture()).answered_by == "default"
    told = []
    router = Router({"stable": 0, "canary": 1}, experiment="e", on_exposure=told.append)
    shadow = Shadow(Servable(version=2), share=1)
    model = FakeClassifier(version=2).models["image_classifier"]
    model.versions[1] = "AVAILABLE"
    with FakeClassifier(model, router=router, shadow=shadow) as fake:
        model.labels.update(stable=1, canary=1)
        fake.when(label="canary").answers(label="defective")
        assert fake.predict(example_picture(), key="ada").label == "defective"
        fake.wait_for(1, timeout_s=20)
        shadow.drain()
        assert [one.version for one in fake.asked()] == [None, 2]
    assert [one.predicted for one in told] == ["defective"]


def test_delays_are_waited_for_up_to_the_deadline():
    with FakeClassifier(timeout_s=0.2) as fake:
        fake.answers(delay_s=0.05, times=1)
        fake.answers(delay_s=30)
        start = time.monotonic()
        assert fake.predict(example_picture()).latency_s >= 0.05
        with pytest.raises(DeadlineExceededError, match=r"within 0\.2 s"):
            fake.predict(example_picture())
        assert time.monotonic() - start < 5


def test_several_threads_may_use_one(fake):
    fake.answers(label="defective", times=40)
    found = []

    def ask():
        found.extend(fake.predict(example_picture()).label for _ in range(10))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["defective"] * 40
    assert not fake.left


def test_the_face_for_asyncio_does_not_block_its_loop():
    async def main():
        async with AsyncFakeClassifier() as fake:
            fake.answers(label="defective", delay_s=0.2)
            start = time.monotonic()
            cells = [fake.predict(example_picture(grey=grey)) for grey in range(5)]
            found = await asyncio.gather(*cells)
            assert time.monotonic() - start < 0.9, "five delays at once, not one after the other"
            streamed = [one.label async for one in fake.stream([example_picture()])]
            fake.fails(NotFoundError)
            with pytest.raises(NotFoundError):
                await fake.predict(example_picture())
        return [one.label for one in found] + streamed

    assert asyncio.run(main()) == ["defective"] * 6


def test_a_client_without_a_server_asks_any_model():
    with FakeClient(FakeModel("affine", **AFFINE), retry=Retry(backoff_s=0.001)) as client:
        client.returns(lambda request: {"y": request.inputs["x"] + 1})
        client.fails(OverloadedError, times=1)  # and sent again, as retry says
        assert client.predict({"x": [1.0]}, model="affine")["y"].tolist() == [2.0]
        assert [one.version for one in client.status(model="affine")] == [1]
        assert len(client.asked()) == 2

    async def main():
        async with AsyncFakeClient(FakeModel("affine", **AFFINE)) as client:
            client.returns({"y": [3.0]})
            return await client.predict({"x": [1.0]}, model="affine")

    assert asyncio.run(main())["y"].tolist() == [3.0]


def test_hedged_attempts_are_answered_too():
    with FakeClient(FakeModel("affine", **AFFINE), hedge_after_s=0.05) as client:
        client.returns({"y": [1.0]}, delay_s=20, times=1)
        client.returns({"y": [2.0]})
        assert client.predict({"x": [1.0]}, model="affine", timeout_s=60)["y"].tolist() == [2.0]
        assert len(client.asked()) == 2


# ---- answers with defaults ----


def test_an_example_has_defaults_that_fit_each_other():
    assert ImagePrediction.example().label == "sound"
    assert ImagePrediction.example().probability == 0.1
    assert ImagePrediction.example("defective").probability == 0.9
    assert ImagePrediction.example("defective", 0.6, needs_review=True).needs_review
    assert ImagePrediction.example(model_version=7, source="a.png").model_version == 7
    broken = ImagePrediction.example(valid=False)
    assert (broken.label, broken.needs_review, bool(broken.reason)) == ("", True, True)
    assert np.isnan(broken.probability)


@pytest.mark.parametrize(
    "fields",
    [
        {"probability": 1.5},
        {"probability": float("nan")},
        {"label": ""},
        {"label": "sound", "valid": False},
        {"probability": 0.5, "valid": False},
    ],
)
def test_an_example_that_no_model_gives_is_refused(fields):
    with pytest.raises(RequestError, match="Expected a label and a probability"):
        ImagePrediction.example(**fields)
    with pytest.raises(TypeError, match="nonsense"):
        ImagePrediction.example(nonsense=1)


def test_a_probability_that_is_no_number_is_refused_in_words():
    for given in ("0.2", True, [0.2]):
        with pytest.raises(RequestError, match="Expected probability as a number from 0 to 1"):
            ImagePrediction.example("sound", given)
    with pytest.raises(RequestError, match="Expected probability as a number"):
        ImagePrediction.example(probability="0.2", valid=False)
    assert ImagePrediction.example("sound", np.float32(0.25)).probability == 0.25


def test_a_predictions_example_holds_arrays_as_a_server_sends_them():
    found = Prediction.example({"y": [3.0], "words": ["a", "é\0"], "raw": b"\0"}, version=4)
    assert found["y"].tolist() == [3.0]
    assert found["words"].tolist() == [b"a", "é\0".encode()]
    assert found["raw"].tolist() == b"\0"
    assert (found.model, found.version) == ("image_classifier", 4)
    assert found.answered_by == "image_classifier/versions/4"
    with pytest.raises(ValueError, match="read-only"):
        found["y"][0] = 1
