"""What the shadow is asked, how the answers are compared, and the line in the log."""

from __future__ import annotations

import contextlib
import json
import time

import numpy as np
import pytest

from tfs_client import Comparison, Servable, ShadowLog
from tfs_client.wire.tensors import to_proto

from .asking import ask, asked, for_label


def test_the_shadow_is_asked_the_same_and_the_caller_gets_its_own_answer(
    server, client, shadow, told
):
    started_s = time.time()
    answer = ask(client, shadow, [1.0, 2.5], request_id="r-1", metadata=[("x-team", "ovens")])
    assert (answer.version, answer["x"].tolist()) == (1, [1.0, 2.5])
    assert answer.answered_by == "echo/labels/stable"
    assert shadow.drain() == 0
    ((mine, _),) = asked(server, "stable")
    ((its, pairs),) = asked(server, "canary")
    assert its.model_spec.version_label == "canary"
    its.model_spec.version_label = "stable"
    assert its == mine
    assert (pairs["x-shadow"], pairs["x-request-id"], pairs["x-team"]) == ("1", "r-1", "ovens")
    (line,) = told
    assert isinstance(line, Comparison)
    assert (line.request_id, line.model, line.shadow) == ("r-1", "echo", "echo/labels/canary")
    assert (line.primary_version, line.shadow_version) == (1, 2)
    assert (line.agree, line.max_difference, line.error) == (True, 0.0, "")
    assert line.primary_latency_s == answer.latency_s
    assert 0 < line.shadow_latency_s < 5
    assert started_s <= line.time_s <= time.time()
    assert shadow.counts == {"compared": 1}
    assert client.fallback_counts == {}


def test_the_callers_own_request_says_nothing_of_a_shadow(server, client, shadow):
    ask(client, shadow)
    shadow.drain()
    assert all("x-shadow" not in pairs for _, pairs in asked(server, "stable"))
    assert all("x-shadow" not in pairs for _, pairs in asked(server, "stable", "GetModelMetadata"))


def test_without_a_servable_it_is_the_canary_of_the_model_that_is_asked(client, make, told):
    shadow = make(None)
    ask(client, shadow)
    shadow.drain()
    assert [line.shadow for line in told] == ["echo/labels/canary"]


def test_files_are_mirrored_as_they_are_and_each_image_is_compared(
    server, client, make_classifier, make, as_file, told
):
    shadow = make(None)
    files = [as_file(), as_file()[:5000], as_file(kind="JPEG")]
    classifier = make_classifier(client, shadow=shadow)
    answers = classifier.predict_many(files, request_id="r")
    assert [answer.model_version for answer in answers] == [1, 1, 1]
    assert shadow.drain() == 0
    ((its, pairs),) = asked(server, "canary")
    assert list(its.inputs["image_bytes"].string_val) == files
    assert (pairs["x-shadow"], pairs["x-request-id"]) == ("1", "r")
    assert [(line.request_id, line.agree) for line in told] == [
        *(("r-0", True), ("r-1", True), ("r-2", True)),
    ]
    first, broken, _ = told
    assert (first.primary_label, first.shadow_label) == ("defective", "defective")
    assert (first.primary_probability, first.shadow_probability) == (
        *(pytest.approx(0.1), pytest.approx(0.2)),
    )
    assert first.max_difference == pytest.approx(0.1)
    assert (broken.primary_label, broken.primary_probability) == ("", None)
    assert (broken.max_difference, broken.shadow_probability) == (None, None)
    assert shadow.counts == {"compared": 1}


def test_images_that_get_another_label_disagree(
    server, client, make_classifier, make, as_file, told
):
    def sound(honest, request, context):
        response = honest(request, context)
        response.outputs["label"].CopyFrom(to_proto(np.array([b"sound"], object)))
        return response

    for_label(server, "canary", sound)
    shadow = make(None)
    make_classifier(client, shadow=shadow).predict(as_file())
    shadow.drain()
    (line,) = told
    assert (line.agree, line.primary_label, line.shadow_label) == (False, "defective", "sound")


def test_pixels_are_resized_from_the_original_for_a_shadow_of_another_size(
    server, client, make_classifier, make, picture, told
):
    shadow = make(None)
    pixels = np.asarray(picture)
    make_classifier(client, shadow=shadow).predict(pixels)
    assert shadow.drain() == 0
    make_classifier(client, label="canary").predict(pixels)
    by_shadow, by_caller = (request.inputs["images"] for request, _ in asked(server, "canary"))
    assert by_shadow == by_caller
    assert [size.size for size in by_shadow.tensor_shape.dim] == [1, 48, 32, 3]
    assert [(line.shadow_version, line.error) for line in told] == [(2, "")]
    ((_, pairs),) = asked(server, "canary", "GetModelMetadata")[:1]
    assert pairs["x-shadow"] == "1"


def test_a_stream_is_mirrored_in_its_batches(client, make_classifier, make, as_file, told):
    shadow = make(None)
    classifier = make_classifier(client, shadow=shadow, batch_size=2)
    assert len(list(classifier.stream([as_file()] * 3))) == 3
    shadow.drain()
    assert (len(told), shadow.counts) == (3, {"compared": 2})


@pytest.mark.parametrize("kept", ["arrays", "pixels"])
def test_what_the_caller_writes_into_its_inputs_afterwards_is_not_mirrored(
    server, client, make_classifier, make, held, kept
):
    shadow, pairs = make(None), [("x-team", "ovens")]
    if kept == "arrays":
        array = np.ones(3, np.float32)
        client.predict({"x": array}, model="echo", label="stable", metadata=pairs, shadow=shadow)
    else:
        array = np.ones((60, 80, 3), np.uint8)
        make_classifier(client, shadow=shadow).predict(array)
    array[:] = 7
    pairs[:] = [("x-team", "others")]
    held.let_go.set()
    assert shadow.drain() == 0
    ((its, got),) = asked(server, "canary")
    assert got.get("x-team", "ovens") == "ovens"
    (tensor,) = its.inputs.values()
    sent = np.frombuffer(tensor.tensor_content, array.dtype)
    assert sent.size > 0
    assert (sent == 1).all()


def test_arrays_are_compared_number_by_number_within_a_tolerance(server, client, make, told):
    def off(honest, request, context):
        response = honest(request, context)
        values = np.frombuffer(request.inputs["x"].tensor_content, np.float32).copy()
        values[-1] += 0.25
        response.outputs["x"].CopyFrom(to_proto(values))
        return response

    for_label(server, "canary", off)
    for tolerance in (0.3, 0.01):
        shadow = make(tolerance=tolerance)
        ask(client, shadow, [1.0, 2.0])
        shadow.drain()
    assert [line.agree for line in told] == [True, False]
    assert [line.max_difference for line in told] == [0.25, 0.25]
    assert [(line.primary_label, line.primary_probability) for line in told] == [("", None)] * 2


@pytest.mark.parametrize(
    ("theirs", "agree", "difference"),
    [
        (np.float32([1, np.nan]), False, 0.0),
        (np.float32([1, 2, 3]), False, None),
        (np.array([b"1", b"2"], object), False, None),
        (np.float64([1, 2]), True, 0.0),
        (np.float32([1, np.inf]), False, 0.0),
    ],
    ids=["a NaN", "another shape", "strings", "another dtype", "infinity"],
)
def test_outputs_of_another_kind_disagree_and_are_told(
    server, client, make, told, tmp_path, theirs, agree, difference
):
    def other(honest, request, context):
        response = honest(request, context)
        response.outputs["x"].CopyFrom(to_proto(theirs))
        return response

    for_label(server, "canary", other)
    with ShadowLog(tmp_path / "shadow.jsonl") as log:
        shadow = make(on_comparison=log)
        ask(client, shadow, [1.0, 2.0])
        assert shadow.drain() == 0
    (line,) = (tmp_path / "shadow.jsonl").read_text().splitlines()
    found = json.loads(line)
    assert (found["agree"], found["max_difference"]) == (agree, difference)


def test_two_nans_agree(client, shadow, told):
    ask(client, shadow, [1.0, float("nan")])
    shadow.drain()
    assert [(line.agree, line.max_difference) for line in told] == [(True, 0.0)]


def test_a_shadow_may_have_another_signature_of_the_same_inputs(server, client, make):
    shadow = make(Servable(model="echo", label="canary", signature="echoing"))
    ask(client, shadow)
    shadow.drain()
    ((its, _),) = asked(server, "canary")
    assert its.model_spec.signature_name == "echoing"
    assert shadow.counts == {"compared": 1}


def test_a_shadow_may_be_another_servers_same_version(server, make_server, open_client, make, told):
    other = make_server()
    client, there = open_client(server.target), open_client(other.target)
    shadow = make(Servable(model="echo", label="stable", client=getattr(there, "wrapped", there)))
    ask(client, shadow)
    shadow.drain()
    assert len(asked(other, "stable")) == 1
    assert [(line.primary_version, line.shadow_version) for line in told] == [(1, 1)]


def test_a_line_of_the_log_holds_the_fields_in_their_order(client, make, tmp_path):
    with contextlib.ExitStack() as stack:
        shadow = make(on_comparison=stack.enter_context(ShadowLog(tmp_path / "shadow.jsonl")))
        ask(client, shadow, request_id="r")
        shadow.drain()
    (line,) = (tmp_path / "shadow.jsonl").read_text().splitlines()
    assert list(json.loads(line)) == [
        *("request_id", "time_s", "model", "primary_version", "shadow", "shadow_version"),
        *("agree", "primary_label", "shadow_label", "primary_probability", "shadow_probability"),
        *("max_difference", "primary_latency_s", "shadow_latency_s", "error"),
    ]
    assert Comparison(**json.loads(line)).request_id == "r"
