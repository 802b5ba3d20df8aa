"""The scores of the classes, of any number of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tfs_client import AnswerError, Client, ImageClassifier, ImagePrediction, contract
from tfs_client.testing import FakeClassifier, FakeServer, ImageModel, example_picture
from tfs_client.wire import tensors

ANIMALS = ("cat", "dog", "owl")
SCORES = {"cat": 0.25, "dog": 0.625, "owl": 0.125}


@pytest.fixture
def animals():
    with FakeServer(ImageModel(classes=ANIMALS)) as server:
        yield server


@pytest.fixture
def classifier(animals):
    with Client(animals.target) as client:
        yield ImageClassifier(client)


def changed(server, **outputs):
    """Makes the server answer other outputs; None takes one away."""
    honest = server.usual("Predict")

    def predict(request, context):
        response = honest(request, context)
        for name, value in outputs.items():
            del response.outputs[name]
            if value is not None:
                response.outputs[name].CopyFrom(tensors.to_proto(value))
        return response

    server.handlers["Predict"] = predict


def test_each_class_has_its_probability_in_the_versions_order(animals, classifier):
    animals.answers(scores=SCORES)
    answer = classifier.predict(example_picture())
    assert (answer.label, answer.probability) == ("dog", 0.625)
    assert list(answer.scores.items()) == list(SCORES.items())


def test_what_a_script_does_not_say_is_shared_by_the_other_classes(animals, classifier):
    animals.answers(label="owl", probability=0.5)
    assert classifier.predict(example_picture()).scores == {"cat": 0.25, "dog": 0.25, "owl": 0.5}


def test_of_two_classes_the_other_one_has_what_is_left():
    with FakeClassifier() as fake:
        fake.answers(label="defective", probability=0.75)
        answer = fake.predict(example_picture())
        assert answer.scores == {"sound": 0.25, "defective": 0.75}


def test_an_image_that_is_not_valid_has_none(animals, classifier):
    whole, broken = classifier.predict_many([example_picture(), b"no picture"], on_bad_image="mark")
    assert len(whole.scores) == 3
    assert broken.scores == {}
    animals.answers(valid=False)
    assert classifier.predict(example_picture()).scores == {}


def test_a_version_from_before_there_were_scores_is_asked_as_ever(animals, classifier):
    animals.answers(label="dog", probability=0.625)
    changed(animals, scores=None, classes=None)
    answer = classifier.predict(example_picture())
    assert (answer.label, answer.probability, answer.scores) == ("dog", 0.625, {})


def floats(*rows):
    return np.array(rows, np.float32)


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        ({"scores": floats([0.5, 0.5])}, r"Received: float32 \[1, 2\] and object \[1, 3\]"),
        ({"scores": floats(0.1, 0.2, 0.7)}, r"Received: float32 \[3\] and"),
        ({"scores": np.array([[1, 0, 0]], np.int32)}, "Received: int32"),
        ({"classes": floats([1, 2, 3])}, r"and float32 \[1, 3\]"),
        ({"scores": floats([0.5, 1.5, 0])}, r"between 0 and 1.*Received: \[0.5, 1.5, 0.0\]"),
        ({"scores": floats([0.5, math.nan, 0])}, "between 0 and 1"),
    ],
    ids=str,
)
def test_scores_that_break_the_contract_are_refused(animals, classifier, outputs, told):
    animals.answers(label="dog", probability=0.625)
    changed(animals, **outputs)
    with pytest.raises(AnswerError, match=told):
        classifier.predict(example_picture())


def test_classes_that_are_not_among_the_known_ones_are_refused(animals):
    animals.answers(label="dog", probability=0.625)
    with Client(animals.target) as client:
        assert ImageClassifier(client, classes=ANIMALS).predict(example_picture()).label == "dog"
        with pytest.raises(AnswerError, match=r"none but \['cat', 'dog'\]\. Received: 'owl'"):
            ImageClassifier(client, classes=("dog", "cat")).predict(example_picture())


def test_classify_answers_every_class(animals):
    animals.answers(label="owl", probability=0.5)
    with Client(animals.target) as client:
        found = client.classify([{contract.FEATURE_ENCODED: example_picture()}])
    assert [(one.label, one.score) for one in found.results[0]] == [
        ("cat", 0.25), ("dog", 0.25), ("owl", 0.5),
    ]  # fmt: skip


def test_an_example_carries_scores():
    answer = ImagePrediction.example(scores=SCORES)
    assert (answer.label, answer.probability, answer.scores) == ("dog", 0.625, SCORES)
    answer = ImagePrediction.example(scores={"sound": 0.75, "defective": 0.25})
    assert (answer.label, answer.probability) == ("sound", 0.25)  # of the positive class
    assert ImagePrediction.example().scores == {}
