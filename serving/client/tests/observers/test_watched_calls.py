"""What observers are told, once each, however a call ends; over real sockets."""

from __future__ import annotations

import asyncio
import collections
import threading

import grpc
import pytest

from tfs_client import (
    AnswerError,
    AsyncClient,
    Breaker,
    CircuitOpenError,
    Client,
    ClosedClientError,
    Observer,
    RequestError,
    Retry,
    Servable,
    ServerError,
    UnavailableError,
)
from tfs_client.steps import Send

QUICK = Retry(backoff_s=0.001, budget_burst=100)


class Stop(BaseException):
    """Like KeyboardInterrupt, but pytest does not stop at it."""


class Watch(Observer):
    """Records the calls that it is told of."""

    def __init__(self):
        self.started, self.ended, self.failed = [], [], []

    def call_started(self, call):
        self.started.append(call)

    def attempt_failed(self, call, error, pause_s):
        self.failed.append((call, error, pause_s))

    def call_ended(self, call):
        self.ended.append(call)

    def the_one(self, method="Predict"):
        """The one call of a method, started and ended once."""
        (started,) = [call for call in self.started if call.method == method]
        (ended,) = [call for call in self.ended if call.method == method]
        assert started is ended
        return ended


class Broken(Observer):
    def _fail(self, *args):
        raise RuntimeError("a broken observer")

    call_started = attempt_failed = call_ended = fell_back = images_answered = _fail


@pytest.fixture
def watch():
    return Watch()


def ask(client, **settings):
    return client.predict({"x": [1.0]}, model="echo", label="stable", **settings)


def abort(server, code=grpc.StatusCode.UNAVAILABLE, times=10**9):
    honest, left = server.usual("Predict"), iter(range(times))

    def answer(request, context):
        if next(left, None) is not None:
            context.abort(code, "gone")
        return honest(request, context)

    server.handlers["Predict"] = answer


def hang(server):
    honest, reached, release = server.usual("Predict"), threading.Event(), threading.Event()

    def answer(request, context):
        reached.set()
        release.wait(10)
        return honest(request, context)

    server.handlers["Predict"] = answer
    return reached, release


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("Classify", lambda client: client.classify([{"x": 1.0}])),
        ("Regress", lambda client: client.regress([{"x": 1.0}], model="echo")),
        ("GetModelMetadata", lambda client: client.metadata()),
        ("GetModelStatus", lambda client: client.status()),
        ("GetModelMetadata", lambda client: client.wait_ready("stable")),
    ],
)
def test_every_method_is_told_once(server, open_client, watch, method, call):
    call(open_client(server.target, observers=[watch]))
    told = watch.the_one(method)
    assert (told.target, told.error, told.attempts) == (server.target, None, 1)
    assert told.request_bytes > 0
    assert told.answer_bytes > 0
    assert 0 < told.latency_s < 5


def test_what_is_refused_before_it_is_sent_is_no_call(server, open_client, watch):
    client = open_client(server.target, observers=[watch])
    with pytest.raises(RequestError):
        ask(client, timeout_s=-1)
    with pytest.raises(RequestError):
        client.metadata(model="")
    assert watch.started == []


def test_retries_are_attempts_of_one_call(server, open_client, watch):
    abort(server)
    with pytest.raises(UnavailableError) as caught:
        ask(open_client(server.target, observers=[watch], retry=QUICK))
    call = watch.the_one()
    assert (call.attempts, call.error) == (3, caught.value)
    assert [one is call for one, _, _ in watch.failed] == [True] * 3
    assert [pause is None for _, _, pause in watch.failed] == [False, False, True]


def test_a_hedge_is_an_attempt_of_the_same_call(server, open_client, watch):
    client = open_client(server.target, observers=[watch], hedge_after_s=0.05, retry=QUICK)
    client.metadata(model="echo", label="stable")
    first, release, honest = iter([True]), threading.Event(), server.usual("Predict")

    def slow_once(request, context):
        if next(first, False):
            release.wait(10)
        return honest(request, context)

    server.handlers["Predict"] = slow_once
    ask(client)
    release.set()
    assert watch.the_one().attempts == 2
    assert watch.failed == []


def test_a_hedged_call_that_fails_is_told_once(server, open_client, watch):
    abort(server, grpc.StatusCode.INTERNAL)
    with pytest.raises(ServerError):
        ask(open_client(server.target, observers=[watch], hedge_after_s=0.05))
    assert isinstance(watch.the_one().error, ServerError)
    assert len(watch.failed) == 1


def test_what_the_circuit_holds_back_is_told_without_attempts(server, open_client, watch):
    breaker = Breaker(min_calls=1, open_s=60)
    client = open_client(server.target, observers=[watch], breaker=breaker, retry=None)
    client.metadata(model="echo", label="stable")
    abort(server)
    with pytest.raises(UnavailableError):
        ask(client)
    watch.started.clear()
    watch.ended.clear()
    with pytest.raises(CircuitOpenError):
        ask(client)
    call = watch.the_one()
    assert (type(call.error), call.attempts) == (CircuitOpenError, 0)


def test_an_answer_that_cannot_be_read_is_the_calls_error(server, open_client, watch):
    server.handlers["Predict"] = lambda request, context: b"\xff\xff no message"
    with pytest.raises(AnswerError):
        ask(open_client(server.target, observers=[watch]))
    assert isinstance(watch.the_one().error, AnswerError)


def test_a_client_closed_in_the_middle_of_a_call_ends_it(server, watch):
    reached, release = hang(server)
    client, caught = Client(server.target, observers=[watch], timeout_s=8), []

    def call():
        try:
            ask(client)
        except ClosedClientError as error:
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert reached.wait(5)
    client.close()
    thread.join()
    release.set()
    assert [watch.the_one().error] == caught


def test_a_task_cancelled_while_a_retry_waits_has_ended(server, watch):
    abort(server)

    async def body():
        slow = Retry(attempts=9, backoff_s=30, max_backoff_s=30)
        client = AsyncClient(server.target, observers=[watch], timeout_s=300, retry=slow)
        async with client:
            task = asyncio.ensure_future(ask(client))
            while not watch.failed:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(body())
    assert isinstance(watch.the_one().error, asyncio.CancelledError)


def test_a_coroutine_that_is_dropped_has_ended(server, watch):
    _, release = hang(server)

    async def body():
        async with AsyncClient(server.target, observers=[watch]) as client:
            await client.metadata(model="echo", label="stable")
            dropped = ask(client)
            dropped.send(None)
            dropped.close()

    asyncio.run(body())
    release.set()
    assert isinstance(watch.the_one().error, GeneratorExit)


def test_what_is_no_exception_ends_a_call_as_well(server, open_client, watch, monkeypatch):
    def stop(self):
        raise Stop

    client = open_client(server.target, observers=[watch])
    client.metadata(model="echo", label="stable")
    for wait in ("wait", "wait_async"):
        monkeypatch.setattr(Send, wait, stop)
    with pytest.raises(Stop):
        ask(client)
    assert isinstance(watch.the_one().error, Stop)


def test_observers_that_fail_at_everything_harm_neither_calls_nor_the_others(
    server, open_client, make_classifier, as_file, watch, caplog
):
    client = open_client(server.target, observers=[Broken(), watch], retry=QUICK)
    abort(server, times=1)
    ask(client)
    abort(server, grpc.StatusCode.INTERNAL, times=1)
    fallback = [Servable(label="canary")]
    assert make_classifier(client, fallback=fallback).predict(as_file()).model_version == 2
    counted = collections.Counter(id(call) for call in watch.ended)
    assert counted == collections.Counter(id(call) for call in watch.started)
    failures = caplog.text.count("RuntimeError: a broken observer")
    # Two for each call, one for each failed attempt, one fallback, one answer about images.
    assert failures == 2 * len(watch.ended) + len(watch.failed) + 1 + 1


def test_threads_are_told_of_their_own_calls_alone(server, watch):
    here = collections.defaultdict(list)

    class Where(Observer):
        def call_started(self, call):
            call.state["thread"] = threading.get_ident()

        def call_ended(self, call):
            here[call.state["thread"]].append(threading.get_ident())

    with Client(server.target, observers=[Where(), watch]) as client:
        threads = [
            threading.Thread(target=lambda: [ask(client) for _ in range(10)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(set(ended) == {started} for started, ended in here.items())
    assert len(watch.started) == len(watch.ended) >= 80
