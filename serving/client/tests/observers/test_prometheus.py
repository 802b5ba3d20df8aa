"""Metrics while calls fail, hang, are cancelled, and come from many threads; over real sockets."""

from __future__ import annotations

import asyncio
import math
import threading

import grpc
import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tfs_client import (
    AnswerError,
    AsyncClient,
    Breaker,
    CircuitOpenError,
    Client,
    ClosedClientError,
    InvalidRequestError,
    RequestError,
    Retry,
    UnavailableError,
)
from tfs_client.observers.prometheus import Metrics

QUICK = Retry(backoff_s=0.001)
STABLE = {"method": "Predict", "model": "echo", "label": "stable"}


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def watched(server, open_client, registry):
    return open_client(server.target, observers=[Metrics(registry)], retry=QUICK)


def ask(client, **settings):
    return client.predict({"x": [1.0]}, model="echo", label="stable", **settings)


def fail(server, times, code=grpc.StatusCode.UNAVAILABLE, text="gone"):
    honest, left = server.usual("Predict"), iter(range(times))

    def answer(request, context):
        if next(left, None) is not None:
            context.abort(code, text)
        return honest(request, context)

    server.handlers["Predict"] = answer


def hang(server):
    """Has Predict wait; gives two events: it was reached, and let it go on."""
    honest, reached, release = server.usual("Predict"), threading.Event(), threading.Event()

    def answer(request, context):
        reached.set()
        release.wait(10)
        return honest(request, context)

    server.handlers["Predict"] = answer
    return reached, release


def in_flight(registry, labels=STABLE):
    return registry.get_sample_value("tfs_client_requests_in_flight", labels)


def ended(registry, code, labels=STABLE):
    return registry.get_sample_value("tfs_client_requests_total", {**labels, "code": code})


def test_a_call_is_in_flight_until_it_is_answered(server, registry):
    reached, release = hang(server)
    with Client(server.target, observers=[Metrics(registry)]) as client:
        thread = threading.Thread(target=ask, args=(client,))
        thread.start()
        assert reached.wait(5)
        assert in_flight(registry) == 1
        assert ended(registry, "OK") is None
        release.set()
        thread.join()
    assert (in_flight(registry), ended(registry, "OK")) == (0, 1)


def test_a_cancelled_call_is_not_in_flight_any_more(server, registry):
    async def body():
        async with AsyncClient(server.target, observers=[Metrics(registry)]) as client:
            reached, release = hang(server)
            task = asyncio.ensure_future(ask(client))
            await asyncio.to_thread(reached.wait, 5)
            assert in_flight(registry) == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            release.set()

    asyncio.run(body())
    assert (in_flight(registry), ended(registry, "CANCELLED")) == (0, 1)


def test_a_closed_client_leaves_nothing_in_flight(server, registry):
    reached, release = hang(server)
    client = Client(server.target, observers=[Metrics(registry)])
    caught = []

    def call():
        try:
            ask(client)
        except ClosedClientError as error:
            caught.append(error)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert reached.wait(5)
    client.close()
    for thread in threads:
        thread.join()
    release.set()
    for method in ("Predict", "GetModelMetadata"):
        assert not in_flight(registry, {**STABLE, "method": method})
    assert len(caught) == 4
    assert ended(registry, "ClosedClientError")


def test_errors_are_counted_by_code_or_by_class_and_have_no_latency(server, watched, registry):
    fail(server, 1, grpc.StatusCode.INVALID_ARGUMENT)
    with pytest.raises(InvalidRequestError):
        ask(watched)
    server.handlers["Predict"] = lambda request, context: b"\xff\xff no message"
    with pytest.raises(AnswerError):
        ask(watched)
    assert ended(registry, "INVALID_ARGUMENT") == ended(registry, "AnswerError") == 1
    assert in_flight(registry) == 0
    seconds = "tfs_client_request_seconds_count"
    assert registry.get_sample_value(seconds, {**STABLE, "version": "1"}) is None


def test_every_attempt_of_a_call_that_fails_is_counted_and_the_call_once(server, watched, registry):
    fail(server, 9)
    with pytest.raises(UnavailableError):
        ask(watched)
    failed = {**STABLE, "code": "UNAVAILABLE"}
    assert registry.get_sample_value("tfs_client_attempts_failed_total", failed) == 3
    assert ended(registry, "UNAVAILABLE") == 1


def test_a_call_that_the_circuit_holds_back_is_no_attempt(server, open_client, registry):
    client = open_client(
        server.target,
        observers=[Metrics(registry)],
        breaker=Breaker(min_calls=1, open_s=60),
        retry=None,
    )
    client.metadata(model="echo", label="stable")
    fail(server, 99)
    with pytest.raises(UnavailableError):
        ask(client)
    with pytest.raises(CircuitOpenError):
        ask(client)
    failed = {**STABLE, "code": "UNAVAILABLE"}
    assert registry.get_sample_value("tfs_client_attempts_failed_total", failed) == 1
    assert (ended(registry, "UNAVAILABLE"), in_flight(registry)) == (2, 0)


def test_many_threads_lose_no_count(server, registry):
    fail(server, 20, grpc.StatusCode.INVALID_ARGUMENT)
    wrong = []

    def call(client):
        try:
            ask(client)
        except InvalidRequestError as error:
            wrong.append(error)

    def calls(client):
        for _ in range(25):
            call(client)

    metrics = Metrics(registry)
    with (
        Client(server.target, observers=[metrics]) as one,
        Client(server.target, observers=[metrics]) as other,
    ):
        threads = [threading.Thread(target=calls, args=(at,)) for at in (one, other) * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert ended(registry, "OK") == 200 - len(wrong)
    assert ended(registry, "INVALID_ARGUMENT") == len(wrong)
    assert in_flight(registry) == 0


def test_a_call_without_label_or_model_has_empty_ones(server, watched, registry):
    watched.status(model="echo")
    labels = {"method": "GetModelStatus", "model": "echo", "label": ""}
    assert ended(registry, "OK", labels) == 1
    watched.reload(
        'model_config_list { config { name: "echo" base_path: "/m" model_platform: "tensorflow" } }'
    )
    nobody = {"method": "HandleReloadConfigRequest", "model": "", "label": ""}
    assert ended(registry, "OK", nobody) == 1


def test_a_stream_counts_every_image_that_was_sent(
    server, watched, registry, make_classifier, as_file
):
    bad = as_file()[:5000]
    pixels = [np.zeros((64, 64, 3), np.uint8)] * 5
    list(make_classifier(watched, batch_size=2).stream([*pixels, bad], concurrency=2))
    one = {"model": "image_classifier", "version": "1", "label": "stable"}
    images = "tfs_client_images_total"
    valid = {**one, "outcome": "valid", "needs_review": "false"}
    assert registry.get_sample_value(images, valid) == 5
    not_valid = {**one, "outcome": "not_valid", "needs_review": "true"}
    assert registry.get_sample_value(images, not_valid) == 1
    assert registry.get_sample_value("tfs_client_image_probability_count", one) == 5
    assert math.isfinite(registry.get_sample_value("tfs_client_image_probability_sum", one))


def test_what_is_scraped_can_be_read_back(server, watched, registry, make_classifier, as_file):
    fail(server, 1)
    make_classifier(watched, default=True).predict(as_file())
    families = {
        one.name: one for one in text_string_to_metric_families(generate_latest(registry).decode())
    }
    assert all(name.startswith("tfs_client_") for name in families)
    buckets = [
        sample.labels["le"]
        for sample in families["tfs_client_image_probability"].samples
        if sample.name.endswith("_bucket")
    ]
    assert len(buckets) == 21
    bounds = [
        float(sample.labels["le"])
        for sample in families["tfs_client_request_seconds"].samples
        if sample.name.endswith("_bucket") and sample.labels["method"] == "Predict"
    ]
    assert (bounds[0], bounds[-2:], bounds) == (0.0005, [10.0, math.inf], sorted(bounds))


def test_two_registries_of_one_client_both_come_back_to_nothing_in_flight(server, open_client):
    registries = [CollectorRegistry(), CollectorRegistry()]
    ask(open_client(server.target, observers=[Metrics(one) for one in registries]))
    assert [in_flight(one) for one in registries] == [0, 0]


def test_a_registry_that_refuses_one_metric_is_left_as_it_was(registry):
    foreign = Counter("tfs_client_images", "Somebody else's.", registry=registry)
    with pytest.raises(RequestError, match="another namespace"):
        Metrics(registry)
    assert [one.name for one in registry.collect()] == ["tfs_client_images"]
    registry.unregister(foreign)
    Metrics(registry)


def test_buckets_that_cannot_be_are_not_taken_for_a_second_object(registry):
    with pytest.raises(ValueError, match=r"^Buckets"):
        Metrics(registry, latency_buckets_s=(2, 1))
    Metrics(registry, latency_buckets_s=(1, 2))
