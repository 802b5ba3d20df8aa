"""Deadlines, retries, the retry budget, hedges and the circuit breaker, over real sockets."""

from __future__ import annotations

import threading
import time

import grpc
import numpy as np
import pytest

from tfs_client import (
    Breaker,
    CallError,
    CircuitOpenError,
    DeadlineExceededError,
    InvalidRequestError,
    MessageTooLargeError,
    OverloadedError,
    RequestError,
    Retry,
    UnavailableError,
)

QUEUE_FULL = (
    "The batch scheduling queue to which this task was submitted is full; "
    "currently 10 batches enqueued and max_enqueued_batches is 10"
)
QUICK = Retry(backoff_s=0.001, max_backoff_s=0.01, budget_burst=100)


class Failing:
    """Fails the first `times` Predicts, then answers."""

    def __init__(self, server, times: int, code=grpc.StatusCode.UNAVAILABLE, text="gone"):
        self.left, self._honest = times, server.usual("Predict")
        self._code, self._text = code, text
        self._lock = threading.Lock()
        server.handlers["Predict"] = self

    def __call__(self, request, context):
        with self._lock:
            self.left -= 1
            fails = self.left >= 0
        if fails:
            context.abort(self._code, self._text)
        return self._honest(request, context)


def ask(client, **settings):
    return client.predict({"x": [1.0]}, model="echo", **settings)


def count(server) -> int:
    return len(server.asked("Predict"))


def test_a_lost_connection_is_tried_again_and_answered(server, open_client):
    Failing(server, 2)
    client = open_client(server.target, retry=QUICK)
    assert ask(client)["x"].tolist() == [1.0]
    assert count(server) == 3


def test_after_the_last_attempt_the_error_says_how_often(server, open_client):
    Failing(server, 99)
    with pytest.raises(UnavailableError, match=r"\(sent 3 times\)") as caught:
        ask(open_client(server.target, retry=QUICK))
    assert caught.value.attempts == count(server) == 3


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (grpc.StatusCode.UNAVAILABLE, QUEUE_FULL),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted"),
    ],
)
def test_a_full_server_is_asked_once_more_and_no_more(server, open_client, code, text):
    Failing(server, 99, code, text)
    with pytest.raises(OverloadedError):
        ask(open_client(server.target, retry=QUICK))
    assert count(server) == 2


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "no"),
        (grpc.StatusCode.FAILED_PRECONDITION, "no"),
        (grpc.StatusCode.NOT_FOUND, "no"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "no"),
        (grpc.StatusCode.INTERNAL, "no"),
        (grpc.StatusCode.PERMISSION_DENIED, "no"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 4)"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_what_another_attempt_cannot_mend_is_sent_once(server, open_client, code, text):
    Failing(server, 99, code, text)
    with pytest.raises(CallError) as caught:
        ask(open_client(server.target, retry=QUICK))
    assert caught.value.code is code
    assert count(server) == 1


def test_without_a_retry_setting_nothing_is_sent_twice(server, open_client):
    Failing(server, 1)
    with pytest.raises(UnavailableError):
        ask(open_client(server.target, retry=None))
    assert count(server) == 1


def test_a_reload_is_never_sent_twice(server, open_client):
    server.handlers["HandleReloadConfigRequest"] = lambda request, context: context.abort(
        grpc.StatusCode.UNAVAILABLE, "gone"
    )
    config = 'model_config_list { config { name: "echo" base_path: "/m" } }'
    with pytest.raises(UnavailableError):
        open_client(server.target, retry=QUICK).reload(config)
    assert len(server.asked("HandleReloadConfigRequest")) == 1


def test_the_deadline_is_that_of_all_attempts_together(server, open_client):
    def slow_and_failing(request, context):
        time.sleep(0.15)
        context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    server.handlers["Predict"] = slow_and_failing
    client = open_client(server.target, retry=Retry(attempts=100, backoff_s=0.01))
    client.metadata(model="echo")
    start = time.monotonic()
    with pytest.raises((UnavailableError, DeadlineExceededError)):
        ask(client, timeout_s=0.5)
    assert time.monotonic() - start < 0.9
    assert 2 <= count(server) <= 5


def test_a_request_that_ran_into_its_deadline_while_being_computed_is_sent_once(
    server, open_client
):
    release = threading.Event()
    server.handlers["Predict"] = lambda request, context: release.wait(10)
    client = open_client(server.target, retry=Retry(attempts=9, backoff_s=0.001))
    client.metadata(model="echo")
    with pytest.raises(DeadlineExceededError) as caught:
        ask(client, timeout_s=0.3)
    time.sleep(0.2)
    assert count(server) == caught.value.attempts == 1
    release.set()


def test_a_budget_keeps_retries_to_a_tenth_when_all_fail(server, open_client):
    client = open_client(
        server.target, retry=Retry(backoff_s=0, budget_ratio=0.1, budget_burst=5), breaker=None
    )
    ask(client)
    Failing(server, 10**6)
    before = count(server)
    for _ in range(100):
        with pytest.raises(UnavailableError):
            ask(client)
    retries = count(server) - before - 100
    # A burst of five, a tenth of 100 calls, and what one call may go over.
    assert 10 <= retries <= 16


def test_pauses_grow_are_bounded_and_drawn_at_random():
    retry = Retry(attempts=9, backoff_s=0.1, max_backoff_s=0.3)
    error = UnavailableError(
        grpc.StatusCode.UNAVAILABLE, "", target="a:1", call="Predict", timeout_s=1
    )
    pauses = {after: [retry.pause_s(error, after) for _ in range(300)] for after in (1, 2, 3, 8)}
    for after, ceiling in ((1, 0.1), (2, 0.2), (3, 0.3), (8, 0.3)):
        assert 0.9 * ceiling < max(pauses[after]) <= ceiling
        assert min(pauses[after]) < 0.1 * ceiling
    assert retry.pause_s(error, 9) is None


# --- hedges ---------------------------------------------------------------------------------------


def test_a_slow_answer_is_overtaken_by_a_hedge(server, open_client):
    release, calls = threading.Event(), iter(range(100))
    honest = server.usual("Predict")

    def slow_at_first(request, context):
        if next(calls) == 0:
            release.wait(10)
        return honest(request, context)

    server.handlers["Predict"] = slow_at_first
    client = open_client(server.target, hedge_after_s=0.05)
    client.metadata(model="echo")
    start = time.monotonic()
    assert ask(client)["x"].tolist() == [1.0]
    assert time.monotonic() - start < 3
    assert count(server) == 2
    release.set()


def test_a_quick_answer_is_not_hedged(server, open_client):
    client = open_client(server.target, hedge_after_s=3.0)
    for _ in range(5):
        ask(client)
    assert count(server) == 5


def test_hedges_come_out_of_the_budget(server, open_client):
    honest = server.usual("Predict")

    def slow(request, context):
        time.sleep(0.4)  # so long that a hedge arrives before the first attempt is answered
        return honest(request, context)

    server.handlers["Predict"] = slow
    client = open_client(
        server.target,
        hedge_after_s=0.01,
        retry=Retry(budget_burst=2, budget_ratio=0.0),
        check_inputs=False,  # a question for metadata could be hedged as well
    )
    for _ in range(4):
        ask(client)
    assert count(server) == 4 + 2


def test_a_hedged_call_that_fails_is_an_error_like_any_other(server, open_client):
    Failing(server, 99, grpc.StatusCode.INVALID_ARGUMENT, "the server's words")
    with pytest.raises(InvalidRequestError, match="the server's words"):
        ask(open_client(server.target, hedge_after_s=2.0))
    Failing(server, 1)
    client = open_client(server.target, hedge_after_s=2.0, retry=QUICK)
    assert ask(client)["x"].tolist() == [1.0]


# --- the circuit ----------------------------------------------------------------------------------


def test_what_keeps_failing_is_left_alone_and_tried_again(server, open_client, caplog):
    caplog.set_level("INFO", "tfs_client")
    client = open_client(
        server.target, retry=None, breaker=Breaker(window=5, min_calls=5, open_s=0.3)
    )
    failing = Failing(server, 10**6)
    for _ in range(4):
        with pytest.raises(UnavailableError):
            ask(client)
    start = time.monotonic()
    with pytest.raises(
        CircuitOpenError, match=r"was not sent to .*: 4 of its last 5 attempts failed"
    ):
        ask(client)
    assert time.monotonic() - start < 0.1
    assert count(server) == 4
    time.sleep(0.35)
    with pytest.raises(UnavailableError, match="gone"):  # the probe, which fails
        ask(client)
    with pytest.raises(CircuitOpenError):
        ask(client)
    assert count(server) == 5
    failing.left = 0
    time.sleep(0.35)
    assert ask(client)["x"].tolist() == [1.0]  # the probe, which is answered
    assert ask(client)["x"].tolist() == [1.0]
    messages = [record.message for record in caplog.records]
    assert sum("is left alone" in message for message in messages) == 1
    assert sum("answers again" in message for message in messages) == 1


def test_the_circuit_of_one_servable_does_not_close_the_way_to_another(server, open_client):
    honest = server.usual("Predict")

    def only_canary_works(request, context):
        if request.model_spec.version_label != "canary":
            context.abort(grpc.StatusCode.INTERNAL, "broken model")
        return honest(request, context)

    server.handlers["Predict"] = only_canary_works
    client = open_client(server.target, breaker=Breaker(window=2, min_calls=2, open_s=60))
    for _ in range(4):
        with pytest.raises(Exception, match=r"broken model|was not sent"):
            ask(client, label="stable")
    with pytest.raises(CircuitOpenError):
        ask(client, label="stable")
    assert ask(client, label="canary").version == 2
    assert client.status(model="echo")  # the circuit breaker does not hold status back


def test_refusals_of_the_request_do_not_open_the_circuit(server, open_client):
    client = open_client(server.target, breaker=Breaker(window=2, min_calls=2, open_s=60))
    Failing(server, 10, grpc.StatusCode.INVALID_ARGUMENT, "your fault")
    for _ in range(10):
        with pytest.raises(InvalidRequestError, match="your fault"):
            ask(client)
    assert ask(client)["x"].tolist() == [1.0]


def test_only_one_call_probes_a_circuit_that_was_open(server, open_client):
    client = open_client(
        server.target, retry=None, breaker=Breaker(window=2, min_calls=2, open_s=0.2)
    )
    Failing(server, 2)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            ask(client)
    time.sleep(0.25)
    release = threading.Event()
    honest = server.usual("Predict")

    def slow(request, context):
        release.wait(5)
        return honest(request, context)

    server.handlers["Predict"] = slow
    before = count(server)
    outcomes: list[str] = []

    def call():
        try:
            ask(client)
            outcomes.append("answered")
        except CircuitOpenError:
            outcomes.append("held back")

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 5
    while len(outcomes) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    release.set()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["answered"] + 5 * ["held back"]
    assert count(server) == before + 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: Retry(attempts=0),
        lambda: Retry(attempts=1.5),
        lambda: Retry(backoff_s=-1),
        lambda: Retry(budget_ratio=float("nan")),
        lambda: Breaker(failure_ratio=0),
        lambda: Breaker(min_calls=30),
        lambda: Breaker(open_s=0),
    ],
)
def test_settings_that_cannot_be_are_refused(make):
    with pytest.raises(RequestError, match=r"Expected (Retry|Breaker)\..* Received: "):
        make()


def test_a_message_above_the_limit_is_not_sent_again(server, open_client):
    client = open_client(server.target, max_message_bytes=1000, retry=QUICK)
    with pytest.raises(MessageTooLargeError) as caught:
        client.predict({"x": np.zeros(2000, np.float32)}, model="echo")
    assert caught.value.attempts == 1
    assert ask(client)["x"].tolist() == [1.0]
