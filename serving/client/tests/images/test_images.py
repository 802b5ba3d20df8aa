"""The image classifier: files, bytes and pixels, and what is refused before it is sent."""

from __future__ import annotations

import io
import math
import subprocess
import sys
import textwrap

import grpc
import numpy as np
import pytest
from PIL import Image

from tfs_client import (
    AnswerError,
    FailedPreconditionError,
    ImageError,
    RequestError,
    Servable,
    UnavailableError,
)
from tfs_client.images import pixels
from tfs_client.wire import serving_pb2 as pb, tensors


@pytest.fixture
def classifier(client, make_classifier):
    return make_classifier(client)


@pytest.fixture
def cut_short(as_file) -> bytes:
    """A file with a whole header and half of its picture."""
    whole = as_file()
    return whole[: len(whole) // 2]


def sent_tensors(server, name: str) -> list[np.ndarray]:
    """What arrived at the server under this input name, request by request."""
    return [one.inputs[name] for one in server.asked() if name in one.inputs]


def test_a_file_and_its_bytes_are_sent_untouched(server, classifier, as_file, tmp_path):
    content = as_file() + b"\0\0"  # zeros at the end are what careless string types lose
    path = tmp_path / "cell.png"
    path.write_bytes(content)
    for source in (path, str(path), content, bytearray(content), memoryview(content)):
        answer = classifier.predict(source)
        assert (answer.label, answer.valid, answer.needs_review) == ("defective", True, False)
        assert answer.probability == pytest.approx(0.1)
        assert answer.model_version == 1
        assert 0 < answer.latency_s < 5
    assert [one.tolist() for one in sent_tensors(server, "image_bytes")] == [[content]] * 5


def test_a_picture_that_the_model_cannot_decode_is_answered_as_not_valid(classifier, cut_short):
    answer = classifier.predict(cut_short)
    assert not answer.valid
    assert answer.needs_review
    assert answer.label == ""
    assert math.isnan(answer.probability)


def test_an_open_file_is_read_and_stays_open(server, classifier, as_file, tmp_path):
    path = tmp_path / "cell.png"
    path.write_bytes(as_file())
    with path.open("rb") as file:
        assert classifier.predict(file).valid
        assert not file.closed
    assert classifier.predict(io.BytesIO(as_file())).valid
    assert [one.tolist() for one in sent_tensors(server, "image_bytes")] == [[as_file()]] * 2
    with path.open(encoding="latin-1") as text, pytest.raises(ImageError, match="mode 'rb'"):
        classifier.predict(text)


def test_pixels_of_the_right_size_are_sent_as_they_are(server, classifier):
    array = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert classifier.predict(array).label == "defective"
    np.testing.assert_array_equal(sent_tensors(server, "images"), [[array]])


def test_other_sizes_and_pillow_images_are_resized_to_what_the_version_wants(
    server, client, make_classifier, picture
):
    classifier = make_classifier(client, label="canary")
    expected = np.asarray(picture.resize((32, 48), Image.Resampling.BILINEAR))
    for source in (picture, np.asarray(picture)):
        assert classifier.predict(source).model_version == 2
    np.testing.assert_array_equal(sent_tensors(server, "images"), [[expected]] * 2)


def test_the_size_is_asked_for_once(server, classifier, picture):
    for _ in range(3):
        classifier.predict(picture)
    assert len(server.asked("GetModelMetadata")) == 1


def test_a_label_that_moves_to_another_size_is_followed(server, classifier, picture):
    assert classifier.predict(picture).model_version == 1
    server.labels["stable"] = 2
    assert classifier.predict(picture).model_version == 2
    assert sent_tensors(server, "images")[-1].shape == (1, 48, 32, 3)


def test_many_images_of_every_kind_are_answered_in_order(
    server, client, make_classifier, picture, as_file, cut_short
):
    sources = [as_file(), cut_short, picture, as_file(), np.asarray(picture), cut_short]
    answers = make_classifier(client, batch_size=4).predict_many(iter(sources))
    assert [one.valid for one in answers] == [True, False, True, True, True, False]
    assert [len(one) for one in sent_tensors(server, "image_bytes")] == [3, 1]
    assert [len(one) for one in sent_tensors(server, "images")] == [1, 1]


def test_a_stack_of_pixels_is_many_images(server, classifier):
    answers = classifier.predict_many(np.zeros((5, 64, 64, 3), np.uint8))
    assert len(answers) == 5
    assert [one.shape for one in sent_tensors(server, "images")] == [(5, 64, 64, 3)]


def test_a_version_can_be_asked_in_place_of_a_label(client, make_classifier, as_file):
    assert make_classifier(client, version=2).predict(as_file()).model_version == 2
    with pytest.raises(RequestError, match="label or a version"):
        make_classifier(client, label="stable", version=2)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"", "0 bytes"),
        (np.zeros((64, 64, 3), np.float32), "uint8, 0-255. Received: dtype=float32, 0.0 to 0.0"),
        (np.zeros((64, 64), np.uint8), "shape=[64, 64]"),
        (np.zeros((64, 64, 4), np.uint8), "shape=[64, 64, 4]"),
        (np.zeros((0, 64, 3), np.uint8), "shape=[0, 64, 3]"),
        (np.zeros((2, 64, 64, 3), np.uint8), "use predict_many"),
        ([b"a", b"b"], "use predict_many"),
        (b"x" * (pixels.MAX_FILE_BYTES + 1), "at most 33554432 bytes"),
        (3, "Received: int"),
        (None, "Received: NoneType"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_an_image_is_refused_before_sending(server, classifier, source, words):
    with pytest.raises(RequestError, match=r"Expected .* Received: ") as caught:
        classifier.predict(source)
    assert words in str(caught.value)
    assert server.requests == ()


@pytest.mark.parametrize(
    "sources",
    [[], b"one", "one.png", io.BytesIO(b"one"), 3, np.zeros((64, 64, 3), np.uint8)],
    ids=lambda value: type(value).__name__,
)
def test_predict_many_wants_many(server, classifier, sources):
    with pytest.raises(RequestError, match=r"Expected .* Received: "):
        classifier.predict_many(sources)
    assert server.requests == ()


def test_a_file_that_is_not_there_is_an_error_of_the_operating_system(classifier, tmp_path):
    with pytest.raises(FileNotFoundError):
        classifier.predict(tmp_path / "missing.png")


def says(server, model="image_classifier", version=1, **changes):
    """Has Predict answer one row of these outputs."""
    outputs = {
        "probability": np.zeros(1, np.float32),
        "label": [b"sound"],
        "needs_review": np.zeros(1, bool),
        "valid": np.ones(1, bool),
        **changes,
    }
    response = pb.PredictResponse(model_spec={"name": model, "version": {"value": version}})
    for name, value in outputs.items():
        if value is not None:
            response.outputs[name].CopyFrom(tensors.to_proto(value))
    server.handlers["Predict"] = lambda request, context: response


def one(value) -> np.ndarray:
    return np.array([value], np.float32)


@pytest.mark.parametrize(
    "changes",
    [
        {"probability": None},
        {"probability": np.zeros(2, np.float32)},
        {"valid": np.ones(1, np.int64)},
        {"label": np.zeros(1, np.float32)},
        {"probability": one(math.nan)},
        {"probability": one(math.inf)},
        {"probability": one(-math.inf)},
        {"probability": one(1.5)},
        {"probability": one(-0.001)},
        {"probability": one(1.5), "valid": np.zeros(1, bool)},
        {"probability": one(math.inf), "valid": np.zeros(1, bool)},
        {"label": [b""]},
    ],
    ids=str,
)
def test_an_answer_that_breaks_the_contract_is_refused(server, classifier, as_file, changes):
    says(server, **changes)
    with pytest.raises(AnswerError, match=r"Expected output .* Received: .* follow the contract"):
        classifier.predict(as_file())


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_the_ends_of_the_range_are_probabilities(server, classifier, as_file, probability):
    says(server, probability=one(probability))
    assert classifier.predict(as_file()).probability == probability


def test_an_image_that_is_not_valid_is_for_review_whatever_the_model_says(
    server, classifier, as_file
):
    says(server, probability=one(math.nan), valid=np.zeros(1, bool), label=[b""])
    answer = classifier.predict(as_file())
    assert (answer.valid, answer.needs_review) == (False, True)


def test_one_wrong_row_of_a_batch_is_refused_and_a_fallback_is_asked(
    server, client, make_classifier, as_file
):
    honest = server.usual("Predict")

    def confident(request, context):
        response = honest(request, context)
        if request.model_spec.version_label == "canary":
            rows = np.array([0.5, math.nan], np.float32)
            response.outputs["probability"].CopyFrom(tensors.to_proto(rows))
        return response

    server.handlers["Predict"] = confident
    classifier = make_classifier(client, label="canary", fallback=[Servable(label="stable")])
    answers = classifier.predict_many([as_file(), as_file()])
    assert [answer.model_version for answer in answers] == [1, 1]
    assert "AnswerError: Expected output 'probability' between 0 and 1" in answers[0].reason


def test_a_class_that_is_not_among_the_known_ones_is_refused(
    server, client, make_classifier, as_file
):
    known = make_classifier(client, classes=("defective", "sound"))
    assert known.predict(as_file()).label == "defective"
    says(server, label=[b"cat"])
    with pytest.raises(AnswerError, match=r"one of \['defective', 'sound'\].* Received: 'cat'"):
        known.predict(as_file())
    assert make_classifier(client).predict(as_file()).label == "cat"  # no classes are known here
    for wrong in ("sound", (), [b"sound"], [""], 2):
        with pytest.raises(RequestError, match=r"Expected classes .* Received: classes="):
            make_classifier(client, classes=wrong)


def test_the_answer_of_another_model_or_version_is_refused(
    server, client, make_classifier, as_file
):
    says(server, model="cats")
    with pytest.raises(AnswerError, match=r"of image_classifier/labels/stable\. .* 1 of cats"):
        make_classifier(client).predict(as_file())
    says(server, version=2)
    with pytest.raises(AnswerError, match=r"of image_classifier/versions/1\. .* version 2 of"):
        make_classifier(client, version=1).predict(as_file())
    says(server, model="")  # a server that does not tell
    assert make_classifier(client).predict(as_file()).valid


def test_pixels_for_a_model_without_a_fixed_size_are_refused(server, classifier, picture):
    server.models["image_classifier"].sizes[1] = (None, 64)
    with pytest.raises(AnswerError, match="send files instead"):
        classifier.predict(picture)


def test_an_error_that_has_nothing_to_do_with_the_size_is_kept(server, classifier, picture):
    server.handlers["Predict"] = lambda request, context: context.abort(
        grpc.StatusCode.FAILED_PRECONDITION, "broken model"
    )
    with pytest.raises(FailedPreconditionError, match="broken model"):
        classifier.predict(picture)
    server.stop()
    with pytest.raises(UnavailableError):
        classifier.predict(picture)


def test_without_pillow_files_work_and_pixels_say_what_to_install(server, as_file):
    script = textwrap.dedent(
        f"""
        import sys
        sys.modules["PIL"] = None  # as if it were not installed
        import numpy as np
        from tfs_client import Client, ImageClassifier, PillowMissingError
        with Client("{server.target}") as client:
            classifier = ImageClassifier(client)
            print(classifier.predict({as_file()!r}).label)
            print(classifier.predict(np.zeros((64, 64, 3), np.uint8)).label)
            try:
                classifier.predict(np.zeros((65, 64, 3), np.uint8))
            except PillowMissingError as error:
                print(error)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[:2] == ["defective", "defective"]
    assert "pip install 'tfs-client[images]'" in done.stdout.splitlines()[2]
