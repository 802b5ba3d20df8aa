"""The caller's answers, errors, circuit, budget and observers are the same with a shadow."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
import threading

import grpc
import numpy as np
import pytest

from tfs_client import Breaker, LabelNotFoundError, Observer, Retry, Servable

from .asking import ask, asked, breaks, for_label


def test_a_caller_does_not_wait_for_a_slow_shadow(client, shadow, held, told):
    for _ in range(3):
        assert ask(client, shadow)["x"].tolist() == [1.0]
    assert shadow.under_way == 3  # the callers were answered while the shadow hangs
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
    assert ask(client, shadow).version == 1  # while on_comparison still runs
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
    server.handlers.clear()
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
