"""What a fake says to a test that uses it wrongly, and to a script that does not fit."""

# ruff: noqa: PT012  # what raises is the end of a fake's `with` block

from __future__ import annotations

import asyncio
import multiprocessing
import re
import sys

import grpc
import numpy as np
import pytest

from tfs_client import (
    CircuitOpenError,
    Client,
    ImageClassifier,
    ImagePrediction,
    NotFoundError,
    Servable,
    ServerError,
    WrongLoopError,
)
from tfs_client.testing import (
    AsyncFakeClassifier,
    FakeClassifier,
    FakeClient,
    FakeModel,
    FakeServer,
    ImageModel,
    ScriptError,
    example_picture,
)

AFFINE = {"inputs": {"x": "float32 [N]"}, "outputs": {"y": "float32 [N]"}}
each_fake = pytest.mark.parametrize("kind", [FakeServer, FakeClassifier])


def asking(fake):
    """A classifier of the fake, and what to close."""
    if isinstance(fake, FakeClassifier):
        return fake
    return ImageClassifier(Client(fake.target, retry=None, breaker=None))


# ---- a script that does not fit what is asked ----


@each_fake
def test_a_script_that_ran_out_is_told_to_the_caller_and_at_the_end(kind):
    text = r"the script of this \w+ has run out\. Scripted: any request, label 'stable' \(2\)"
    with pytest.raises(ScriptError, match=text), kind() as fake:
        fake.when(label="stable").answers(times=2)
        classifier = asking(fake)
        for _ in range(2):
            classifier.predict(example_picture())
        with pytest.raises(ServerError, match=text):
            classifier.predict(example_picture())


@each_fake
def test_it_is_told_at_the_end_although_somebody_else_answered(kind):
    with pytest.raises(ScriptError, match="has run out"), kind() as fake:
        fake.when(label="stable").answers(times=1)
        client = asking(fake)
        if kind is FakeServer:
            chain = [Servable(version=1)]
            fake.when(version=1).answers(label="defective")
            client = ImageClassifier(Client(fake.target, retry=None), fallback=chain)
            client.predict(example_picture())
            assert client.predict(example_picture()).label == "defective"
        else:
            client.predict(example_picture())
            with pytest.raises(ServerError):
                client.predict(example_picture())


def test_the_tests_own_error_is_not_hidden_by_the_scripts():
    with pytest.raises(KeyError) as caught, FakeClassifier() as fake:
        fake.answers(times=1)
        fake.predict(example_picture())
        try:
            fake.predict(example_picture())
        except ServerError:
            raise KeyError("the test's own") from None
    if sys.version_info >= (3, 11):
        assert "has run out" in caught.value.__notes__[0]


def test_what_was_not_asked_for_is_left():
    with FakeClassifier() as fake:
        fake.answers(times=3)
        fake.predict(example_picture())
        assert fake.left == ("any request: 2 of 3 were not asked for",)


def test_a_model_that_is_no_image_classifier_has_to_be_scripted():
    with (
        pytest.raises(ScriptError, match=r"Received: none; such as when\(call=\"Predict\""),
        FakeClient(FakeModel("affine", **AFFINE)) as client,
        pytest.raises(ServerError, match="Expected a script for Predict of affine"),
    ):
        client.predict({"x": [1.0]}, model="affine")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"z": [1.0]}, "Expected outputs of affine's signature serving_default: y. Received: 'z'"),
        ({"y": ["a"]}, "Expected output 'y' as float32"),
        ([1.0], "Expected outputs by name for Predict. Received: list"),
        (ImagePrediction.example(), "no image classifier"),
        (lambda request: None, "Received: NoneType"),
        (lambda request: 1 / 0, "Received: ZeroDivisionError: division by zero"),
    ],
)
def test_values_that_the_model_cannot_answer_are_told(value, words):
    with (
        pytest.raises(ScriptError, match=words),
        FakeClient(FakeModel("affine", **AFFINE)) as client,
        pytest.raises(ServerError, match=words),
    ):
        client.returns(value)
        client.predict({"x": [1.0]}, model="affine")


def test_another_number_of_answers_than_pictures_is_told():
    with (
        pytest.raises(ScriptError, match="Received: 2 answers for a request of 3 pictures"),
        FakeClassifier() as fake,
        pytest.raises(ServerError, match="one for each"),
    ):
        fake.answers(ImagePrediction.example(), ImagePrediction.example("defective"))
        fake.predict_many([example_picture(grey=grey) for grey in range(3)])


@pytest.mark.parametrize("classes", [("sound", "defective"), ("sound", "defective", "wet")])
@pytest.mark.parametrize(
    ("script", "received"),
    [
        ({"label": "defectiv"}, "an answer with 'defectiv'; did you mean 'defective'?"),
        ({"label": "zebra"}, "an answer with 'zebra'; other classes are given with ImageModel"),
        (
            {"scores": {"sound": 0.2, "defectiv": 0.8}, "label": "sound"},
            "scores for 'defectiv'; did you mean 'defective'?",
        ),
        ({"scores": {"sound": 0.2, "defectiv": 0.8}}, "'defectiv'; did you mean 'defective'?"),
        ({"scores": {"sound": 0.2, "defective": 0.8}, "label": "x"}, "an answer with 'x'"),
    ],
    ids=str,
)
def test_a_class_that_the_model_does_not_have_is_told(classes, script, received):
    words = re.escape(f"Expected a label of {', '.join(classes)}. Received: ") + ".*"
    words += re.escape(received)
    with (
        pytest.raises(ScriptError, match=words),
        FakeServer(ImageModel(classes=classes)) as fake,
        Client(fake.target, retry=None) as client,
        pytest.raises(ServerError, match=words),
    ):
        fake.answers(**script)
        ImageClassifier(client).predict(example_picture())


def test_rows_of_classify_fit_the_examples():
    with (
        pytest.raises(ScriptError, match=r"each of 1 examples of Classify\. Received: 2 of them"),
        FakeClient() as client,
        pytest.raises(ServerError),
    ):
        client.returns([[("sound", 1.0)], [("sound", 1.0)]])
        client.classify([{"image/encoded": example_picture()}])


# ---- a script that cannot be ----


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda fake: fake.answers(probability=2), "probability from 0 to 1"),
        (lambda fake: fake.answers(label=""), "Expected a label"),
        (
            lambda fake: fake.answers(label="sound", probability="0.2"),
            "Expected probability as a number from 0 to 1. Received: probability='0.2'",
        ),
        (lambda fake: fake.answers(probability=True), "Received: probability=True"),
        (
            lambda fake: fake.answers(scores={"sound": "0.2", "defective": 0.8}),
            r"Expected scores\['sound'\] as a number from 0 to 1. Received: .*'0.2'",
        ),
        (lambda fake: fake.answers(times=0), "Expected times above 0"),
        (lambda fake: fake.answers(times=True), "Received: times=True"),
        (lambda fake: fake.answers(delay_s=-1), "Expected delay_s from 0 on"),
        (lambda fake: fake.answers(delay_s=float("nan")), "Received: delay_s=nan"),
        (lambda fake: fake.answers("sound"), "ImagePrediction.example.* Received: str"),
        (lambda fake: fake.answers(ImagePrediction.example(), label="x"), "Received: both"),
        (lambda fake: fake.returns("defective"), "Received: str"),
        (lambda fake: fake.returns(3), "Received: int"),
        (lambda fake: fake.fails(CircuitOpenError), "Received: CircuitOpenError"),
        (lambda fake: fake.fails(ValueError), "Received: ValueError"),
        (
            lambda fake: fake.fails("NotFoundError"),
            r"Received: the text 'NotFoundError'; give the class itself, such as "
            r"fails\(tfs_client\.NotFoundError\)$",
        ),
        (lambda fake: fake.fails("full"), r"the text 'full'; .* fails\(tfs_client\.Overloaded"),
        (
            lambda fake: fake.fails("UNAVAILABLE"),
            r"give the code itself, such as fails\(grpc\.StatusCode\.UNAVAILABLE\)$",
        ),
        (lambda fake: fake.fails(grpc.StatusCode.OK), "Received: StatusCode.OK"),
        (lambda fake: fake.when(call="predict"), "Expected call as one of Predict, Classify"),
        (lambda fake: fake.when(model="image_clasifier"), "serves: image_classifier. Received"),
    ],
)
def test_a_script_that_cannot_be_is_refused_where_it_is_written(write, words):
    with FakeClassifier() as fake, pytest.raises(ScriptError, match=words):
        write(fake)
    with FakeClassifier() as fake:
        assert fake.predict(example_picture()).label == "sound", "nothing of it was taken"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FakeModel(""), "Expected a model's name"),
        (lambda: FakeModel("affine"), "Received: none; such as FakeModel"),
        (lambda: FakeModel("a", inputs={"x": "float33 [N]"}), "Received: 'float33 \\[N\\]'"),
        (lambda: FakeModel("a", inputs={"x": "float32 [N4]"}), "Received: 'float32"),
        (lambda: FakeModel("a", inputs={"x": 3}), "Received: 3"),
        (lambda: ImageModel(labels={"canary": 2}, versions=[1]), "Received: {'canary': 2}"),
        (lambda: ImageModel(image_size=64), "height, width"),
        (lambda: ImageModel(classes="ab"), "two names or more"),
        (lambda: ImageModel(classes=("a", "b", "a")), "each once"),
        (lambda: FakeServer("affine"), "Expected models as FakeModel"),
        (lambda: FakeServer(ImageModel(), ImageModel()), "models of different names"),
        (lambda: example_picture(0, 4), "Received: 0x4"),
    ],
)
def test_models_and_pictures_that_cannot_be_are_refused(make, words):
    with pytest.raises(ScriptError, match=words):
        make()


def test_a_port_that_is_taken_is_told():
    with FakeServer() as fake, pytest.raises(ScriptError, match=r"leave the port out|cannot be"):
        FakeServer(port=fake.port)


# ---- the wrong place ----


@each_fake
def test_a_fake_that_was_closed_says_so(kind):
    with kind() as fake:
        pass
    fake.close()
    for use in (fake.answers, lambda: fake.fails(NotFoundError), lambda: fake.when(label="x")):
        with pytest.raises(ScriptError, match="Received: one that was closed"):
            use()
    assert fake.requests == ()
    if kind is FakeServer:
        with pytest.raises(ScriptError, match="closed"):
            fake.start()


def test_waiting_that_would_block_an_event_loop_is_refused():
    async def main():
        async with FakeServer() as fake:
            with pytest.raises(ScriptError, match=r"await asyncio\.to_thread\(wait_for"):
                fake.wait_for(1)

    asyncio.run(main())


def test_requests_that_do_not_come_are_told():
    with FakeServer() as fake, pytest.raises(ScriptError, match=r"within 0\.05 s\. Received: 0"):
        fake.wait_for(1, label="canary", timeout_s=0.05)


def test_the_face_for_asyncio_in_another_thread_or_loop_says_so():
    fake = AsyncFakeClassifier()

    async def ask():
        return (await fake.predict(example_picture())).label

    async def in_another_thread():
        assert await ask() == "sound"
        with pytest.raises(WrongLoopError, match="another loop"):
            await asyncio.to_thread(asyncio.run, ask())

    asyncio.run(in_another_thread())
    with pytest.raises(WrongLoopError, match="event loop of its first call"):
        asyncio.run(ask())


def scripts_in_a_child(fake, told):
    try:
        fake.answers(label="defective")
    except ScriptError as error:
        told.put(str(error))
    else:
        told.put("it was taken")


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_a_script_in_a_forked_process_is_not_lost_in_silence():
    fake = FakeClassifier()  # no gRPC is used, so that this process may be forked
    context = multiprocessing.get_context("fork")
    told = context.Queue()
    child = context.Process(target=scripts_in_a_child, args=(fake, told))
    child.start()
    said = told.get(timeout=60)
    child.join()
    assert "was forked from it" in said


def test_a_picture_that_contradicts_itself_is_refused_as_by_a_server():
    from tfs_client.protocol import METHODS, messages

    request = messages.PredictRequest(model_spec={"name": "image_classifier"})
    request.inputs["image_bytes"].dtype = messages.DT_STRING
    request.inputs["image_bytes"].tensor_shape.unknown_rank = True
    with FakeServer() as fake, grpc.insecure_channel(fake.target) as channel:
        for data, words in (
            (request.SerializeToString(), "tensor parsing error: image_bytes"),
            (b"", "Missing ModelSpec"),
            (messages.PredictRequest(model_spec={}).SerializeToString(), "has no name"),
            (b"\xff\xff", "deserializing"),
        ):
            with pytest.raises(grpc.RpcError, match=words):
                channel.unary_unary(METHODS["Predict"])(data)
        with pytest.raises(grpc.RpcError, match="Method not found"):
            channel.unary_unary("/other.Service/Call")(b"")
        assert np.size(fake.requests) == 3
