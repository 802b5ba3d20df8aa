"""A fake server as a service's test uses it: over real gRPC, from threads and from asyncio."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest

from tfs_client import (
    AsyncClient,
    AsyncImageClassifier,
    CallError,
    Client,
    DeadlineExceededError,
    DtypeError,
    FailedPreconditionError,
    ImageClassifier,
    ImagePrediction,
    InvalidRequestError,
    LabelNotFoundError,
    NotFoundError,
    OverloadedError,
    Retry,
    Servable,
    Shadow,
    UnavailableError,
    protocol,
)
from tfs_client.testing import Failure, FakeModel, FakeServer, ImageModel, example_picture

AFFINE = {"inputs": {"x": "float32 [N]"}, "outputs": {"y": "float32 [N]", "words": "string [N]"}}


@pytest.fixture
def fake():
    with FakeServer() as server:
        yield server


@pytest.fixture
def classifier(fake):
    with Client(fake.target, timeout_s=5, retry=None, breaker=None) as client:
        yield ImageClassifier(client)


# ---- what is answered ----


def test_without_a_script_every_picture_is_answered_as_the_example(fake, classifier):
    found = classifier.predict(example_picture())
    expected = ImagePrediction.example()
    for name in ("label", "needs_review", "valid", "model_version", "model", "answered_by"):
        assert getattr(found, name) == getattr(expected, name), name
    assert found.probability == pytest.approx(expected.probability)


def test_limited_answers_come_first_and_then_the_last_one_without_a_limit(fake, classifier):
    fake.answers(label="sound", probability=0.1)
    fake.answers(label="defective", probability=0.9, times=2)
    fake.fails(OverloadedError, times=1)
    cell = example_picture()
    assert [classifier.predict(cell).label for _ in range(2)] == ["defective"] * 2
    with pytest.raises(OverloadedError, match="Server Threadpool Exhausted"):
        classifier.predict(cell)
    assert [classifier.predict(cell).label for _ in range(3)] == ["sound"] * 3
    fake.answers(label="defective")
    assert classifier.predict(cell).label == "defective"


@pytest.mark.parametrize(
    ("classes", "script", "label", "probability", "scores"),
    [
        (("apple", "leaf", "river"), {}, "apple", 0.9, [0.9, 0.05, 0.05]),
        (("apple", "leaf", "river"), {"probability": 0.4}, "apple", 0.4, [0.4, 0.3, 0.3]),
        (("apple", "leaf", "river"), {"label": "leaf"}, "leaf", 0.9, [0.05, 0.9, 0.05]),
        (("sound", "cracked", "wet"), {"label": "sound"}, "sound", 0.9, [0.9, 0.05, 0.05]),
        (("good", "bad"), {}, "good", 0.1, [0.9, 0.1]),
        (("good", "bad"), {"probability": 0.9}, "good", 0.9, [0.1, 0.9]),
        (("good", "bad"), {"label": "good"}, "good", 0.1, [0.9, 0.1]),
        (("good", "bad"), {"label": "bad"}, "bad", 0.9, [0.1, 0.9]),
        (("good", "bad"), {"scores": {"good": 0.2, "bad": 0.8}}, "bad", 0.8, [0.2, 0.8]),
    ],
)
def test_what_a_script_does_not_say_is_of_the_models_own_classes(
    classes, script, label, probability, scores
):
    with FakeServer(ImageModel(classes=classes)) as fake, Client(fake.target) as client:
        fake.answers(**script)
        found = ImageClassifier(client).predict(example_picture())
    assert (found.label, list(found.scores)) == (label, [*classes])
    assert found.probability == pytest.approx(probability)
    assert [*found.scores.values()] == pytest.approx(scores)


def test_one_script_answers_each_model_with_its_own_classes():
    models = (ImageModel("fruit", classes=("apple", "leaf", "river")), ImageModel("cells"))
    with FakeServer(*models) as fake, Client(fake.target) as client:
        fake.answers()
        found = [
            ImageClassifier(client, model=name).predict(example_picture()).label
            for name in ("fruit", "cells")
        ]
    assert found == ["apple", "sound"]


def test_each_picture_of_a_request_may_have_an_answer_of_its_own(fake, classifier):
    fake.answers(
        ImagePrediction.example("defective", 0.75, needs_review=True),
        ImagePrediction.example("sound", 0.25),
        ImagePrediction.example(valid=False),
    )
    found = classifier.predict_many([example_picture(grey=grey) for grey in (1, 2, 3)])
    assert [(one.label, one.probability, one.needs_review) for one in found[:2]] == [
        ("defective", 0.75, True),
        ("sound", 0.25, False),
    ]
    assert not found[2].valid


def test_a_part_of_the_script_is_for_a_label_a_version_or_a_signature(fake, classifier):
    fake.answers(label="sound")
    fake.when(label="canary").answers(label="defective")
    fake.when(label="canary", signature="predict_images").answers(label="sound", times=1)
    cell, pixels = example_picture(), np.zeros((64, 64, 3), np.uint8)
    with Client(fake.target) as client:
        canary = ImageClassifier(client, label="canary")
        by_number = ImageClassifier(client, version=1)
        assert classifier.predict(cell).label == "sound"
        assert canary.predict(cell).label == "defective"
        assert [canary.predict(pixels).label for _ in range(2)] == ["sound", "defective"]
        fake.when(version=1).answers(label="defective")
        assert by_number.predict(cell).label == "defective"


def test_a_file_that_is_no_picture_is_not_valid_whatever_is_scripted(fake):
    fake.answers(label="defective")
    with Client(fake.target) as client:
        found = client.predict({"image_bytes": [example_picture(), b"no picture"]}, label="stable")
    assert found["valid"].tolist() == [True, False]
    assert found["label"].tolist() == [b"defective", b""]
    assert np.isnan(found["probability"][1])
    assert found["needs_review"].tolist() == [False, True]


def test_any_model_returns_values_or_what_a_function_makes_of_a_request():
    with FakeServer(FakeModel("affine", **AFFINE)) as fake, Client(fake.target) as client:
        fake.returns({"y": [3], "words": ["a\0"]}, times=1)
        fake.returns(lambda request: {"y": request.inputs["x"] * 2})
        first = client.predict({"x": [1.0]}, model="affine")
        assert (first["y"].dtype, first["y"].tolist()) == (np.float32, [3.0])
        assert first["words"].tolist() == [b"a\0"]
        assert client.predict({"x": [1.0, 2.0]}, model="affine")["y"].tolist() == [2.0, 4.0]
        chosen = client.predict({"x": [1.0]}, model="affine", outputs=["y"])
        assert sorted(chosen.outputs) == ["y"]


def test_classify_and_regress_are_answered_too():
    regress = "tensorflow/serving/regress"
    signature = protocol_signature(regress)
    models = (ImageModel(), FakeModel("line", signatures={"serving_default": signature}))
    with FakeServer(*models) as fake, Client(fake.target) as client:
        fake.when(model="image_classifier").answers(label="defective", probability=0.75)
        fake.when(call="Regress").returns([0.5, 1.5])
        (row,) = client.classify([{"image/encoded": example_picture()}]).results
        assert [(one.label, one.score) for one in row] == [("sound", 0.25), ("defective", 0.75)]
        assert client.regress([{"x": 1.0}, {"x": 2.0}], model="line").values.tolist() == [0.5, 1.5]
        assert fake.asked("Regress")[0].examples == ({"x": [1.0]}, {"x": [2.0]})


def protocol_signature(method: str):
    from tfs_client import Signature, TensorSpec

    texts = {"inputs": TensorSpec(dtype="string", shape=(None,))}
    return Signature(name="serving_default", method=method, inputs=texts, outputs={})


def test_a_function_may_fail_a_request(fake, classifier):
    def only_small(request):
        if request.rows > 1:
            raise Failure(InvalidRequestError, "Task size 2 is larger than the limit")
        return ImagePrediction.example("defective")

    fake.returns(only_small)
    assert classifier.predict(example_picture()).label == "defective"
    with pytest.raises(InvalidRequestError, match="larger than the limit"):
        classifier.predict_many([example_picture(grey=grey) for grey in (1, 2)])


# ---- what it is, beside the script ----


def test_versions_labels_and_states_are_those_of_its_models():
    model = ImageModel(versions=(3, 4), labels={"stable": 3, "canary": 4})
    with FakeServer(model) as fake, Client(fake.target, retry=None) as client:
        assert [one.version for one in client.status()] == [3, 4]
        assert client.metadata(label="canary").version == 4
        cell = example_picture()
        assert ImageClassifier(client).predict(cell).model_version == 3
        assert client.predict({"image_bytes": [cell]}).version == 4  # the latest
        model.versions[4] = "LOADING"
        with pytest.raises(NotFoundError, match=r"Specific\(image_classifier, 4\)"):
            ImageClassifier(client, label="canary").predict(cell)
        assert [one.state for one in client.status()] == ["AVAILABLE", "LOADING"]
        threading.Timer(0.1, lambda: model.versions.update({4: "AVAILABLE"})).start()
        assert client.wait_ready("canary", timeout_s=10).version == 4
        model.labels["stable"] = 4
        assert ImageClassifier(client).predict(cell).model_version == 4


def test_unknown_names_are_refused_as_a_server_refuses_them(fake):
    with Client(fake.target, retry=None, check_inputs=False) as client:
        for asked, kind, words in (
            ({"label": "nope"}, LabelNotFoundError, "Unrecognized servable version label: nope"),
            ({"version": 9}, NotFoundError, r"Specific\(image_classifier, 9\)"),
            ({"model": "no"}, NotFoundError, r"request: Latest\(no\)"),
            ({"signature": "no"}, FailedPreconditionError, 'key "no" not found'),
            ({"outputs": ["no"]}, InvalidRequestError, "alias not found in signature: no"),
        ):
            with pytest.raises(kind, match=words):
                client.predict({"image_bytes": [b""]}, **asked)
        with pytest.raises(NotFoundError, match="Could not find any versions of model no"):
            client.status(model="no")
        for inputs, words in (
            ({}, "input size does not match signature: 0!=1"),
            ({"x": [b""]}, "Signature input alias: image_bytes"),
            ({"image_bytes": [1.0]}, r"Expects arg\[0\] to be string but double is provided"),
            ({"image_bytes": [[b""]]}, r"Shape of tensor image_bytes \[1,1\]"),
            ({"image_bytes": [b""] * 1025}, "at most 1024 rows"),
        ):
            with pytest.raises(InvalidRequestError, match=words):
                client.predict(inputs)


def test_the_clients_own_checks_find_its_signatures(fake):
    with Client(fake.target) as client:
        size = client.metadata().signatures["predict_images"].inputs["images"]
        assert str(size) == "uint8 [N, 64, 64, 3]"
        with pytest.raises(DtypeError, match=r"uint8 \[N, 64, 64, 3\]"):
            client.predict({"images": np.zeros((1, 64, 64, 3))}, signature="predict_images")
    assert fake.asked() == ()


def test_a_reload_moves_labels_to_versions_that_are_loaded():
    text = 'model_config_list {{ config {{ name: "image_classifier" {} }} }}'
    with FakeServer(ImageModel(versions=(1, 2))) as fake, Client(fake.target) as client:
        client.reload(text.format('version_labels { key: "canary" value: 2 }'))
        assert client.metadata(label="canary").version == 2
        with pytest.raises(FailedPreconditionError, match="label to version 7 of model"):
            client.reload(text.format('version_labels { key: "stable" value: 7 }'))
        assert client.metadata(label="stable").version == 1


# ---- failures and time ----


def kinds(root):
    return [root, *(kind for one in root.__subclasses__() for kind in kinds(one))]


SENT = sorted(
    {kind.__name__: kind for kind in kinds(CallError)}.keys() - {"CallError", "CircuitOpenError"}
)


@pytest.mark.parametrize("name", SENT)
def test_every_error_of_a_call_can_be_scripted_by_its_class(fake, classifier, name):
    import tfs_client

    kind = getattr(tfs_client, name)
    fake.fails(kind)
    with pytest.raises(CallError) as caught:
        classifier.predict(example_picture())
    assert type(caught.value) is kind


def test_a_failure_by_code_and_words_reaches_the_client_as_it_is(fake, classifier):
    fake.fails(grpc.StatusCode.UNAVAILABLE, "The batch scheduling queue … is full")
    with pytest.raises(OverloadedError, match="batch scheduling queue … is full"):
        classifier.predict(example_picture())
    fake.fails(grpc.StatusCode.DATA_LOSS)
    with pytest.raises(CallError) as caught:
        classifier.predict(example_picture())
    assert caught.value.code is grpc.StatusCode.DATA_LOSS


def test_each_attempt_of_a_client_that_retries_is_a_request(fake):
    fake.fails(UnavailableError, times=2)
    fake.answers(label="defective")
    with Client(fake.target, retry=Retry(attempts=3, backoff_s=0.001)) as client:
        assert ImageClassifier(client).predict(example_picture()).label == "defective"
    assert len(fake.asked()) == 3
    assert not fake.left


def test_delays_within_the_deadline_are_waited_for_and_others_are_not(fake):
    fake.answers(label="defective", delay_s=0.1, times=1)
    fake.answers(delay_s=30)
    with Client(fake.target, retry=None) as client:
        start = time.monotonic()
        assert ImageClassifier(client, timeout_s=5).predict(example_picture()).label == "defective"
        assert time.monotonic() - start >= 0.1
        with pytest.raises(DeadlineExceededError, match=r"within 0\.2 s"):
            ImageClassifier(client, timeout_s=0.2).predict(example_picture())
    start = time.monotonic()
    fake.close()
    assert time.monotonic() - start < 5, "it does not wait for answers that nobody waits for"


def test_it_stops_and_serves_again_on_the_same_port(fake):
    with Client(fake.target, retry=None, breaker=None) as client:
        classifier = ImageClassifier(client)
        classifier.predict(example_picture())
        fake.stop()
        with pytest.raises(UnavailableError):
            classifier.predict(example_picture())
        fake.start()
        client.wait_ready("stable", timeout_s=20)
        assert classifier.predict(example_picture()).valid


def test_what_no_server_says_comes_from_a_handler(fake, classifier):
    usual = fake.usual("Predict")

    def renamed(message, context):
        response = usual(message, context)
        response.model_spec.name = "another"
        return response

    fake.handlers["Predict"] = renamed
    with pytest.raises(Exception, match="mixes models up"):
        classifier.predict(example_picture())
    fake.handlers["Predict"] = lambda message, context: b"\xff\xff"
    with pytest.raises(Exception, match="is it a model server"):
        classifier.predict(example_picture())


# ---- what was asked ----


def test_it_tells_what_it_was_asked(fake):
    cell = example_picture()
    with Client(fake.target, metadata=[("x-team", "ovens")], timeout_s=7) as client:
        ImageClassifier(client, label="canary").predict(cell, request_id="order-17")
        client.predict({"image_bytes": [cell, cell]}, version=1, outputs=["valid"])
    by_label, by_version = fake.asked()
    assert fake.requests[0].call == "GetModelMetadata"
    assert (by_label.label, by_label.version, by_label.answered_version) == ("canary", None, 1)
    assert by_label.signature == "serving_default"
    assert by_label.inputs["image_bytes"].tolist() == [cell]
    assert by_label.metadata["x-team"] == "ovens"
    assert by_label.request_id == "order-17"
    assert 5 < by_label.timeout_s <= 7.5  # gRPC rounds it up
    assert (by_version.label, by_version.version, by_version.rows) == (None, 1, 2)
    assert by_version.outputs == ("valid",)
    assert isinstance(by_version.message, protocol.messages.PredictRequest)
    assert fake.asked(label="canary") == (by_label,)
    assert "image_bytes: string [2]" in repr(by_version)


def test_what_comes_later_is_waited_for(fake):
    fake.when(label="canary").answers(label="defective")
    with Client(fake.target) as client:
        shadow = Shadow(Servable(label="canary"), share=1)
        assert ImageClassifier(client, shadow=shadow).predict(example_picture()).label == "sound"
        (mirrored,) = fake.wait_for(1, label="canary", timeout_s=20)
        shadow.drain()
    assert mirrored.metadata["x-shadow"] == "1"


def test_two_servers_stand_beside_each_other():
    with FakeServer() as one, FakeServer() as other:
        one.fails(NotFoundError)
        other.answers(label="defective")
        with Client(one.target, retry=None) as client, Client(other.target) as spare:
            chain = [Servable(label="stable", client=spare)]
            answer = ImageClassifier(client, fallback=chain).predict(example_picture())
    assert (answer.label, len(one.asked()), len(other.asked())) == ("defective", 1, 1)
    assert one.port != other.port


def test_clients_in_an_event_loop_and_in_other_processes_are_answered(fake):
    fake.answers(label="defective")

    async def main():
        model = ImageModel(classes=("whole", "cracked"))
        async with FakeServer(model) as own, AsyncClient(own.target) as client:
            own.answers(label="cracked")
            answer = await AsyncImageClassifier(client).predict(example_picture())
        async with AsyncClient(fake.target) as client:
            return answer.label, (
                await AsyncImageClassifier(client).predict(example_picture())
            ).label

    assert asyncio.run(main()) == ("cracked", "defective")
    script = (
        "import sys; from tfs_client import *; from tfs_client.testing import example_picture\n"
        "with Client(sys.argv[1]) as client:\n"
        "    print(ImageClassifier(client).predict(example_picture()).label)"
    )
    command = [sys.executable, "-c", script, fake.target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "defective\n"


def test_the_example_picture_is_one_that_pillow_opens():
    import io

    from PIL import Image

    with Image.open(io.BytesIO(example_picture(12, 7, grey=200))) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (12, 7))
        assert picture.getpixel((11, 6)) == (200, 200, 200)
