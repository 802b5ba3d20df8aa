"""The shadow: what it is asked, what is told of it, and that the caller never notices."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
import warnings

import grpc
import numpy as np
import pytest

from tfs_client import (
    AsyncClient,
    Breaker,
    Client,
    Comparison,
    LabelNotFoundError,
    Observer,
    RequestError,
    Retry,
    Router,
    Servable,
    ServerError,
    Shadow,
    ShadowLog,
)
from tfs_client.wire.tensors import to_proto

CANARY = Servable(model="echo", label="canary")


def ask(client, shadow, x=(1.0,), **settings):
    settings = {"model": "echo", "label": "stable", **settings}
    return client.predict({"x": list(x)}, shadow=shadow, **settings)


def asked(server, label, call="Predict"):
    """The requests that were sent to a label, with their metadata."""
    return [
        (request, pairs)
        for (name, request), pairs in zip(list(server.requests), list(server.metadata))
        if name == call and request.model_spec.version_label == label
    ]


def eventually(holds):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


def for_label(server, label, behave):
    """Has Predict behave otherwise for a label: (honest, request, context) to an answer."""
    before = server.answers.get("Predict", server._Predict)

    def answer(request, context):
        if request.model_spec.version_label != label:
            return before(request, context)
        return behave(before, request, context)

    server.answers["Predict"] = answer


def breaks(code=grpc.StatusCode.INTERNAL):
    return lambda honest, request, context: context.abort(code, "broken")


class Held:
    """Has the canary wait until it is let go."""

    def __init__(self, server):
        self.let_go = threading.Event()
        for_label(server, "canary", self._wait)

    def _wait(self, honest, request, context):
        self.let_go.wait(30)
        return honest(request, context)


@pytest.fixture
def held(server):
    held = Held(server)
    yield held
    held.let_go.set()


@pytest.fixture
def told():
    """What the shadows of `make` told."""
    return []


@pytest.fixture
def make(told):
    """A function that makes a shadow which mirrors everything to echo's canary."""

    def make(servable=CANARY, **settings):
        return Shadow(servable, **{"share": 1, "on_comparison": told.append, **settings})

    return make


@pytest.fixture
def shadow(make):
    return make()


# --- what is asked and told -----------------------------------------------------------------------


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


# --- which calls ----------------------------------------------------------------------------------


def test_a_share_is_chosen_by_the_request_id_and_always_the_same(client, make, told):
    ids = [f"order-{n}" for n in range(200)]
    chosen = []
    for share in (0.1, 0.1, 0.4):
        shadow = make(share=share, max_in_flight=1000)
        for one in ids:
            ask(client, shadow, request_id=one)
        assert shadow.drain() == 0
        chosen.append({line.request_id for line in told})
        told.clear()
    assert chosen[0] == chosen[1]
    assert 5 <= len(chosen[0]) <= 40
    assert chosen[0] < chosen[2]  # a larger share keeps those that were in it
    assert 50 <= len(chosen[2]) <= 110


@pytest.mark.parametrize("request_id", ["", "an id"])
def test_a_share_of_0_mirrors_nothing_and_of_1_everything(server, client, make, told, request_id):
    for share, mirrored in ((0, 0), (1.0, 30)):
        shadow = make(share=share, max_in_flight=100)
        for _ in range(30):
            ask(client, shadow, request_id=request_id)
        shadow.drain()
        assert len(told) == mirrored


def test_without_a_request_id_a_share_is_drawn(client, make):
    shadow = make(share=0.5, max_in_flight=1000)
    for _ in range(200):
        ask(client, shadow)
    shadow.drain()
    assert 60 <= shadow.counts["compared"] <= 140


def test_a_call_that_failed_or_got_the_default_is_not_mirrored(
    server, client, make, shadow, make_classifier, as_file
):
    for_label(server, "stable", breaks())
    with pytest.raises(ServerError):
        ask(client, shadow)
    assert ask(client, shadow, default={"x": [0.0]}).answered_by == "default"
    images = make(None)
    answer = make_classifier(client, shadow=images, default=True).predict(as_file())
    assert answer.answered_by == "default"
    assert (shadow.drain(), images.drain()) == (0, 0)
    assert (shadow.counts, images.counts) == ({}, {})
    assert asked(server, "canary") == []


def test_a_fallbacks_answer_is_compared(server, client, shadow, told):
    for_label(server, "stable", breaks())
    answer = ask(client, shadow, fallback=[Servable(model="echo", version=1)])
    assert answer.answered_by == "echo/versions/1"
    shadow.drain()
    assert [(line.primary_version, line.shadow_version) for line in told] == [(1, 2)]


def test_a_router_and_a_shadow_go_together(client, make_classifier, make, as_file, told):
    shadow = make(None)
    router = Router({"stable": 1}, experiment="e")
    answers = make_classifier(client, router=router, shadow=shadow).predict_many(
        [as_file()] * 2, key="ada"
    )
    answer = ask(client, shadow, label=None, router=router, key="ada")
    shadow.drain()
    ids = [one.request_id for one in (*answers, answer)]
    assert sorted(line.request_id for line in told) == sorted(ids)


@pytest.mark.parametrize(
    ("primary", "servable"),
    [
        ({"label": "canary"}, CANARY),
        ({"label": "canary"}, Servable(model="echo", version=2)),
        ({"version": 2, "label": None}, Servable(model="echo", version=2)),
    ],
    ids=["the same label", "the label's version", "the same version"],
)
def test_what_the_shadows_version_answered_is_not_sent_to_it_again(
    server, client, make, told, primary, servable
):
    shadow = make(servable)
    ask(client, shadow, **primary)
    assert shadow.drain() == 0
    assert (shadow.counts, told) == ({"same_version": 1}, [])
    assert len(server.asked("Predict")) == 1


def test_while_both_labels_stand_on_one_version_one_call_a_second_finds_out(
    server, client, shadow, told, monkeypatch
):
    server.labels["canary"] = 1
    for _ in range(3):
        ask(client, shadow)
        shadow.drain()
    assert (shadow.counts, told) == ({"same_version": 3}, [])
    assert len(asked(server, "canary")) == 1
    server.labels["canary"] = 2
    ask(client, shadow)
    assert shadow.counts == {"same_version": 4}  # still believed
    shadow._same = {key: (version, 0.0) for key, (version, _) in shadow._same.items()}
    ask(client, shadow)
    shadow.drain()
    assert [line.shadow_version for line in told] == [2]


# --- the caller never notices ---------------------------------------------------------------------


def test_a_caller_does_not_wait_for_a_slow_shadow(client, shadow, held, told):
    for _ in range(3):
        assert ask(client, shadow)["x"].tolist() == [1.0]
    assert shadow.under_way == 3  # all have been answered while the shadow hangs
    assert told == []
    held.let_go.set()
    assert shadow.drain() == 0
    assert len(told) == 3
    assert shadow.under_way == 0


def test_more_than_max_in_flight_are_dropped_and_counted(server, client, make, held, told):
    shadow = make(max_in_flight=2)
    for _ in range(5):
        ask(client, shadow)
    assert (shadow.under_way, shadow.counts) == (2, {"dropped": 3})
    held.let_go.set()
    shadow.drain()
    ask(client, shadow)
    shadow.drain()
    assert shadow.counts == {"dropped": 3, "compared": 3}
    assert len(asked(server, "canary")) == 3


@pytest.mark.parametrize(
    ("servable", "error"),
    [
        (Servable(model="echo", label="no such label"), "LabelNotFoundError"),
        (Servable(model="echo", version=9), "NotFoundError"),
        (Servable(label="canary"), "FailedPreconditionError"),
    ],
    ids=["no such label", "no such version", "another signature"],
)
def test_a_shadow_that_refuses_is_told_as_its_error(client, make, told, servable, error):
    shadow = make(servable)
    answer = client.predict(
        {"x": [1.0], "words": ["one"]},
        model="echo",
        version=1,
        signature="echoing",
        request_id="r",
        shadow=shadow,
    )
    assert answer.version == 1
    shadow.drain()
    (line,) = told
    assert (line.error, line.agree, line.shadow_version) == (error, None, 0)
    assert (line.request_id, line.primary_version, line.shadow) == ("r", 1, servable.name)
    assert shadow.counts == {"failed": 1}


def test_a_shadow_that_does_not_follow_the_contract_is_told_for_each_image(
    server, client, make_classifier, make, as_file, told
):
    def lie(honest, request, context):
        response = honest(request, context)
        del response.outputs["valid"]
        return response

    for_label(server, "canary", lie)
    shadow = make(None)
    answers = make_classifier(client, shadow=shadow).predict_many([as_file()] * 2)
    assert [answer.label for answer in answers] == ["defective"] * 2
    shadow.drain()
    assert [line.error for line in told] == ["AnswerError"] * 2


def test_a_dead_shadow_changes_no_answer(client, open_client, make, told, free_port):
    dead = open_client(f"127.0.0.1:{free_port}")
    shadow = make(Servable(model="echo", client=getattr(dead, "wrapped", dead)))
    for _ in range(3):
        assert ask(client, shadow).version == 1
    assert shadow.drain() == 0
    assert [line.error for line in told] == ["RefusedError"] * 3


def test_a_shadow_has_a_deadline_of_its_own(client, make, held, told):
    shadow = make(timeout_s=0.05)
    hasty = make(Servable(model="echo", label="canary", timeout_s=0.05))
    for one in (shadow, hasty):
        ask(client, one)
        assert one.drain() == 0
    assert [line.error for line in told] == ["DeadlineExceededError"] * 2


def test_what_on_comparison_raises_is_logged_and_harms_nobody(client, make, caplog):
    def fail(comparison):
        raise KeyError("a full disk, say")

    shadow = make(on_comparison=fail)
    for _ in range(2):
        assert ask(client, shadow).version == 1
        assert shadow.drain() == 0
    assert shadow.counts == {"compared": 2}
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.message.startswith("on_comparison failed")
    assert record.exc_info[0] is KeyError


def test_a_slow_on_comparison_holds_nobody_up(client, make):
    reached, let_go = threading.Event(), threading.Event()

    def slow(comparison):
        reached.set()
        assert let_go.wait(30)

    shadow = make(on_comparison=slow, max_in_flight=1)
    ask(client, shadow)
    assert reached.wait(10)
    assert ask(client, shadow).version == 1  # while it is still being told
    assert (shadow.under_way, shadow.counts) == (1, {"dropped": 1})
    let_go.set()
    assert shadow.drain() == 0
    assert shadow.counts == {"dropped": 1, "compared": 1}


def test_a_mirror_that_cannot_be_made_is_logged_and_harms_nobody(
    client, make, make_classifier, caplog
):
    class Hostile(np.ndarray):
        def copy(self, order="C"):
            raise MemoryError("no room")

    shadow = make(None)
    pixels = np.zeros((64, 64, 3), np.uint8).view(Hostile)
    assert make_classifier(client, shadow=shadow).predict(pixels).model_version == 1
    assert "mirroring a call failed" in caplog.text
    assert (shadow.under_way, shadow.counts) == (0, {"given_up": 1})


@pytest.mark.parametrize("kind", ["arrays", "images"])
def test_a_shadow_is_sent_once_and_leaves_the_circuit_alone(
    server, open_client, make, make_classifier, as_file, told, kind
):
    for_label(server, "canary", breaks(grpc.StatusCode.UNAVAILABLE))
    client = open_client(
        server.target,
        retry=Retry(backoff_s=0.001),
        breaker=Breaker(window=4, min_calls=2, open_s=60),
        hedge_after_s=0.001,
    )
    shadow = make(None)

    def call(shadow, label):
        if kind == "arrays":
            return ask(client, shadow, label=label).version
        classifier = make_classifier(client, shadow=shadow, label=label)
        return classifier.predict(as_file()).model_version

    for _ in range(20):
        call(shadow, "stable")
        shadow.drain()
    assert len(asked(server, "canary")) == 20
    assert [line.error for line in told] == ["UnavailableError"] * 20
    server.answers.clear()
    assert call(None, "canary") == 2  # no open circuit holds it back


def test_a_mirror_neither_spends_nor_fills_the_retry_budget(server, open_client, make):
    client = open_client(server.target)
    budget = getattr(client, "wrapped", client).core.sender._budget
    ask(client, None)
    for_label(server, "canary", breaks(grpc.StatusCode.UNAVAILABLE))
    budget._tokens = 5.0
    shadow = make()
    ask(client, shadow)
    shadow.drain()
    assert shadow.counts == {"failed": 1}
    assert budget._tokens == pytest.approx(5.1)  # for the caller's call alone


def test_observers_are_not_told_of_mirrored_calls(server, open_client, make, make_classifier):
    seen = []

    class Watch(Observer):
        def call_started(self, call):
            seen.append((call.method, call.label))

        def images_answered(self, model, label, predictions):
            seen.append(("images", label))

    client = open_client(server.target, observers=[Watch()])
    shadow = make(None)
    ask(client, shadow)
    make_classifier(client, shadow=shadow).predict(np.zeros((64, 64, 3), np.uint8))
    shadow.drain()
    assert shadow.counts == {"compared": 2}
    assert ("Predict", "stable") in seen
    assert {label for _, label in seen} == {"stable"}


def test_the_shadows_batch_limit_is_not_the_callers(server, client, make_classifier, make, as_file):
    def limited(honest, request, context):
        rows = len(request.inputs["image_bytes"].string_val)
        if rows > 1:
            text = f"Task size {rows} is larger than maximum input batch size 1"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        return honest(request, context)

    for_label(server, "canary", limited)
    shadow = make(None)
    classifier = make_classifier(client, shadow=shadow)
    for _ in range(2):
        classifier.predict_many([as_file()] * 3)
        shadow.drain()
    assert shadow.counts == {"compared": 2}
    assert len(asked(server, "stable")) == 2


def test_a_failing_caller_gets_its_own_error(server, client, shadow):
    with pytest.raises(LabelNotFoundError, match="no such label"):
        ask(client, shadow, label="no such label")
    assert shadow.counts == {}


def test_without_a_shadow_its_module_is_never_loaded(server):
    script = textwrap.dedent(
        f"""
        import sys
        from tfs_client import Client, ImageClassifier, Router
        with Client("{server.target}") as client:
            client.predict({{"x": [1.0]}}, model="echo")
            ImageClassifier(client)
        assert not [name for name in sys.modules if name.startswith("tfs_client.shadow")]
        """
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


# --- its end --------------------------------------------------------------------------------------


def test_a_drain_gives_up_what_takes_longer_and_tells_nobody_later(client, shadow, held, told):
    ask(client, shadow)
    ask(client, shadow)
    assert shadow.drain(timeout_s=0.05) == 2
    assert (shadow.under_way, shadow.counts) == (0, {"given_up": 2})
    held.let_go.set()
    client.close()
    eventually(lambda: not mirror_threads())
    assert told == []
    assert shadow.counts == {"given_up": 2}


def test_what_was_given_up_is_told_nobody_when_it_is_answered_after_all(client, shadow, held, told):
    ask(client, shadow)
    (mirror,) = shadow.mirrors
    assert shadow.drain(timeout_s=0) == 1
    shadow.conclude(mirror, RuntimeError("late"))
    assert (told, shadow.counts) == ([], {"given_up": 1})


def test_a_shadow_whose_own_client_was_closed_is_given_up(
    server, make_server, open_client, make, told
):
    client, there = open_client(server.target), open_client(make_server().target)
    shadow = make(Servable(model="echo", client=getattr(there, "wrapped", there)))
    ask(there, None)
    there.close()
    assert ask(client, shadow).version == 1
    assert shadow.drain() == 0
    assert (told, shadow.counts) == ([], {"given_up": 1})


def mirror_threads():
    return [one for one in threading.enumerate() if one.name.startswith("tfs-shadow")]


def test_closing_the_client_gives_up_its_mirrors_and_leaves_no_thread(
    server, open_client, shadow, held, told
):
    client, other = open_client(server.target), open_client(server.target)
    ask(client, shadow)
    ask(other, shadow)
    client.close()
    assert (shadow.under_way, shadow.counts) == (1, {"given_up": 1})
    held.let_go.set()
    assert shadow.drain() == 0
    assert shadow.counts == {"given_up": 1, "compared": 1}
    other.close()
    eventually(lambda: not mirror_threads())
    assert len(told) == 1


def test_mirrors_end_with_the_loop_and_no_task_is_destroyed(server, held, told):
    shadow = Shadow(CANARY, share=1, on_comparison=told.append, timeout_s=60)

    async def closed():
        async with AsyncClient(server.target, timeout_s=5) as client:
            await ask(client, shadow)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def left_open():
        client = AsyncClient(server.target, timeout_s=5)
        await ask(client, shadow)
        return client

    async def drained():
        async with AsyncClient(server.target, timeout_s=5) as client:
            await ask(client, shadow)
            with pytest.raises(RequestError, match="await drain_async"):
                shadow.drain()
            assert await asyncio.wait_for(shadow.drain_async(0.05), 10) == 1
            held.let_go.set()
            await ask(client, shadow)
            assert await shadow.drain_async() == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(closed())
        assert shadow.counts == {"given_up": 1}
        client = asyncio.run(left_open())
        assert shadow.under_way == 0
        asyncio.run(drained())
        asyncio.run(client.close())
        gc.collect()
    assert shadow.counts == {"given_up": 3, "compared": 1}
    assert len(told) == 1


def test_a_shadow_of_one_call_leaves_no_thread_behind(server):
    with Client(server.target, timeout_s=5) as client:
        for _ in range(3):
            told = threading.Event()
            ask(client, Shadow(CANARY, share=1, on_comparison=lambda _: told.set()))  # noqa: B023
            assert told.wait(10)

        def gone():
            gc.collect()
            return not mirror_threads()

        eventually(gone)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_after_a_fork_both_sides_mirror_and_write(server, tmp_path):
    script = textwrap.dedent(
        f"""
        import os, signal, sys, threading, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from tfs_client import Client, Servable, Shadow, ShadowLog
        log = ShadowLog(sys.argv[1])
        shadow = Shadow(Servable(model="echo", label="canary"), share=1, on_comparison=log)
        def ask(client, who):
            client.predict(
                {{"x": [1.0]}}, model="echo", label="stable", shadow=shadow, request_id=who
            )
        client = Client("{server.target}", timeout_s=20)
        ask(client, "before")
        shadow.drain(20)
        done, held = threading.Event(), threading.Event()
        def hold():
            with shadow._lock, shadow.mirrors._lock, log._lock:
                held.set()
                done.wait()
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        child = os.fork()
        if not child:
            signal.alarm(20)
            assert shadow.counts == {{}}
            with Client("{server.target}", timeout_s=20) as mine:
                ask(mine, "child")
                assert shadow.drain(20) == 0
            assert shadow.counts == {{"compared": 1}}
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        done.set()
        thread.join()
        ask(client, "parent")
        assert shadow.drain(20) == 0
        assert shadow.counts == {{"compared": 2}}
        client.close()
        sys.exit(os.waitstatus_to_exitcode(status))
        """
    )
    path = tmp_path / "shadow.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    ids = [json.loads(line)["request_id"] for line in path.read_text().splitlines()]
    assert ids == ["before", "child", "parent"]


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"servable": "canary"},
        {"share": 1.1},
        {"share": -0.1},
        {"share": float("nan")},
        {"share": "half"},
        {"share": True},
        {"max_in_flight": 0},
        {"max_in_flight": 2.5},
        {"timeout_s": 0},
        {"tolerance": -1},
        {"on_comparison": "shadow.jsonl"},
    ],
    ids=str,
)
def test_a_shadow_that_cannot_be_is_refused(settings):
    with pytest.raises(RequestError, match=r"Expected .* Received: "):
        Shadow(**settings)


def test_what_is_no_shadow_is_refused_before_anything_is_sent(server, client, make_classifier):
    for wrong in (3, CANARY):
        with pytest.raises(RequestError, match="Expected shadow as a Shadow"):
            ask(client, wrong)
        with pytest.raises(RequestError, match="Expected shadow as a Shadow"):
            make_classifier(client, shadow=wrong)
    assert server.requests == []


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
