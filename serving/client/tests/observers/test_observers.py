"""What observers are told, and the ready-made ones: OpenTelemetry and Prometheus."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import grpc
import numpy as np
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from prometheus_client import CollectorRegistry, generate_latest

from tfs_client import (
    AsyncClient,
    Client,
    ImageClassifier,
    InvalidRequestError,
    Observer,
    RequestError,
    Retry,
    Servable,
)
from tfs_client.observers.opentelemetry import Tracing, _address
from tfs_client.observers.prometheus import Metrics

QUICK = Retry(backoff_s=0.001)
FAILURES = {"code": grpc.StatusCode.UNAVAILABLE, "text": "gone"}


class Notes(Observer):
    """Records what it is told."""

    def __init__(self):
        self.told: list[tuple] = []

    def call_started(self, call):
        call.metadata.append(("x-note", "a note"))
        self.told.append(("started", call.method))

    def attempt_failed(self, call, error, pause_s):
        self.told.append(("failed", call.method, type(error).__name__, pause_s is not None))

    def call_ended(self, call):
        self.told.append(("ended", call.method, call.attempts, call.version, call.error))

    def fell_back(self, servable, to, error):
        self.told.append(("fell back", servable, to, type(error).__name__))

    def images_answered(self, model, label, predictions):
        self.told.append(("images", model, label, len(predictions)))


def fail(server, times: int, code=grpc.StatusCode.UNAVAILABLE, text="gone"):
    honest, left = server.usual("Predict"), iter(range(times))

    def answer(request, context):
        if next(left, None) is not None:
            context.abort(code, text)
        return honest(request, context)

    server.handlers["Predict"] = answer


def ask(client, **settings):
    return client.predict({"x": [1.0]}, model="echo", label="stable", **settings)


def test_an_observer_is_told_of_each_step_once(server, open_client):
    notes = Notes()
    client = open_client(server.target, observers=[notes], retry=QUICK)
    fail(server, 1)
    ask(client)
    assert notes.told == [
        ("started", "GetModelMetadata"),
        ("ended", "GetModelMetadata", 1, 1, None),
        ("started", "Predict"),
        ("failed", "Predict", "UnavailableError", True),
        ("ended", "Predict", 2, 1, None),
    ]
    assert server.requests[-1].metadata["x-note"] == "a note"


def test_an_observer_is_told_of_failures_and_fallbacks(server, open_client, make_classifier):
    notes = Notes()
    client = open_client(server.target, observers=[notes], retry=None)
    client.metadata(label="stable")
    client.metadata(label="canary")
    notes.told.clear()
    fail(server, 1, grpc.StatusCode.INTERNAL)
    classifier = make_classifier(client, fallback=[Servable(label="canary")])
    classifier.predict_many(np.zeros((3, 48, 32, 3), np.uint8)[:, :48, :32])
    kinds = [note[0] for note in notes.told]
    assert kinds == ["started", "failed", "ended", "fell back", "started", "ended", "images"]
    assert notes.told[1][2:] == ("ServerError", False)
    assert notes.told[3][1:] == (
        *("image_classifier/labels/stable", "image_classifier/labels/canary", "ServerError"),
    )
    assert notes.told[-1] == ("images", "image_classifier", "canary", 3)


def test_an_observer_that_fails_harms_no_call(server, open_client, caplog):
    class Broken(Observer):
        def call_started(self, call):
            raise RuntimeError("broken observer")

        call_ended = attempt_failed = call_started

    notes = Notes()
    client = open_client(server.target, observers=[Broken(), notes], retry=QUICK)
    fail(server, 1)
    assert ask(client)["x"].tolist() == [1.0]
    assert [note[0] for note in notes.told][-3:] == ["started", "failed", "ended"]
    assert "the call goes on" in caplog.text


def test_nothing_is_made_where_nobody_watches(server, open_client, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("made for nobody")

    monkeypatch.setattr("tfs_client.call.sender.Call", never)
    assert ask(open_client(server.target))["x"].tolist() == [1.0]


def test_a_cancelled_call_has_ended_for_observers_too(server):
    notes, release, reached = Notes(), threading.Event(), threading.Event()

    def hang(request, context):
        reached.set()
        release.wait(10)
        return server.usual("Predict")(request, context)

    async def body():
        async with AsyncClient(server.target, observers=[notes]) as client:
            await client.metadata(model="echo", label="stable")
            server.handlers["Predict"] = hang
            task = asyncio.ensure_future(ask(client))
            await asyncio.to_thread(reached.wait, 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(body())
    release.set()
    assert notes.told[-1][:2] == ("ended", "Predict")
    assert isinstance(notes.told[-1][4], asyncio.CancelledError)


# --- OpenTelemetry --------------------------------------------------------------------------------


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


def spans(exporter, name: str) -> list:
    return [span for span in exporter.get_finished_spans() if span.name.endswith(name)]


def test_a_call_is_a_client_span_whose_context_reaches_the_server(
    server, open_client, exporter, provider
):
    client = open_client(server.target, observers=[Tracing(provider)], retry=QUICK)
    fail(server, 1)
    ask(client)
    (span,) = spans(exporter, "/Predict")
    assert span.name == "tensorflow.serving.PredictionService/Predict"
    assert span.kind.name == "CLIENT"
    assert span.status.status_code is StatusCode.UNSET
    expected = {
        "rpc.system": "grpc",
        "rpc.service": "tensorflow.serving.PredictionService",
        "rpc.method": "Predict",
        "rpc.grpc.status_code": 0,
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "tfs.model": "echo",
        "tfs.label": "stable",
        "tfs.version": 1,
        "tfs.attempts": 2,
        "tfs.signature": "serving_default",
    }
    assert {key: span.attributes[key] for key in expected} == expected
    assert [event.name for event in span.events] == ["tfs.attempt_failed"]
    context = span.get_span_context()
    version, trace_id, span_id, _ = server.requests[-1].metadata["traceparent"].split("-")
    assert (version, int(trace_id, 16), int(span_id, 16)) == (
        *("00", context.trace_id, context.span_id),
    )


def test_a_failed_call_is_a_span_with_the_error(server, open_client, exporter, provider):
    client = open_client(server.target, observers=[Tracing(provider)])
    fail(server, 1, grpc.StatusCode.INVALID_ARGUMENT, "your fault")
    with pytest.raises(InvalidRequestError):
        ask(client)
    (span,) = spans(exporter, "/Predict")
    assert span.status.status_code is StatusCode.ERROR
    assert "your fault" in span.status.description
    assert span.attributes["rpc.grpc.status_code"] == 3
    assert "exception" in [event.name for event in span.events]


def test_spans_are_children_of_the_callers_in_threads_and_in_streams(server, exporter, provider):
    tracer = provider.get_tracer("caller")
    with Client(server.target, observers=[Tracing(provider)]) as client:
        classifier = ImageClassifier(client, batch_size=1, fallback=[Servable(label="canary")])
        with tracer.start_as_current_span("caller") as caller:
            list(classifier.stream(np.zeros((4, 64, 64, 3), np.uint8), concurrency=2))
    calls = spans(exporter, "/Predict")
    assert len(calls) == 4
    assert {span.parent.span_id for span in calls} == {caller.get_span_context().span_id}


def test_spans_are_children_of_the_callers_in_an_event_loop(server, exporter, provider):
    tracer = provider.get_tracer("caller")

    async def one(client, name):
        with tracer.start_as_current_span(name):
            await ask(client, fallback=[Servable(model="echo", label="canary")])

    async def body():
        async with AsyncClient(server.target, observers=[Tracing(provider)]) as client:
            await client.metadata(model="echo", label="stable")
            await asyncio.gather(*(one(client, f"caller {at}") for at in range(5)))

    asyncio.run(body())
    callers = {
        span.context.span_id for span in exporter.get_finished_spans() if "caller" in span.name
    }
    assert {span.parent.span_id for span in spans(exporter, "/Predict")} == callers
    assert len(callers) == 5


@pytest.mark.parametrize(
    ("target", "address", "port"),
    [
        ("models.example:8500", "models.example", 8500),
        ("dns:///models:8500", "models", 8500),
        ("dns://8.8.8.8/models:8500", "models", 8500),
        ("[::1]:8500", "::1", 8500),
        ("ipv4:10.0.0.1:8500,10.0.0.2:8500", "10.0.0.1", 8500),
        ("ipv6:[::1]:8500", "::1", 8500),
        ("unix:/run/tfs.sock", "unix:/run/tfs.sock", None),
    ],
)
def test_the_address_of_a_span_is_read_from_the_target(target, address, port):
    found = _address(target)
    assert (found["server.address"], found.get("server.port")) == (address, port)


# --- Prometheus -----------------------------------------------------------------------------------


def test_metrics_count_latency_errors_retries_and_fallbacks(server, open_client):
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    client = open_client(server.target, observers=[metrics], retry=QUICK)
    value = registry.get_sample_value
    ask(client)
    fail(server, 1)
    ask(client)
    fail(server, 1, grpc.StatusCode.INTERNAL)
    ask(client, fallback=[Servable(model="echo", label="canary")])
    stable = {"method": "Predict", "model": "echo", "label": "stable"}
    seconds = "tfs_client_request_seconds_count"
    assert value(seconds, {**stable, "version": "1"}) == 2
    assert value(seconds, {**stable, "label": "canary", "version": "2"}) == 1
    assert value("tfs_client_requests_total", {**stable, "code": "OK"}) == 2
    assert value("tfs_client_requests_total", {**stable, "code": "INTERNAL"}) == 1
    assert value("tfs_client_attempts_failed_total", {**stable, "code": "UNAVAILABLE"}) == 1
    fell_back = {"servable": "echo/labels/stable", "to": "echo/labels/canary"}
    assert value("tfs_client_fallbacks_total", {**fell_back, "reason": "ServerError"}) == 1
    assert value("tfs_client_requests_in_flight", stable) == 0
    assert value("tfs_client_sent_bytes_total", stable) > 3 * 50
    assert value("tfs_client_received_bytes_total", stable) > 2 * 20
    assert b"tfs_client_request_seconds_bucket" in generate_latest(registry)


def test_metrics_see_confidence_and_who_needs_a_person(
    server, open_client, make_classifier, as_file
):
    registry = CollectorRegistry()
    client = open_client(server.target, observers=[Metrics(registry)])
    classifier = make_classifier(client, default=True)
    classifier.predict_many([as_file(), as_file()[:5000]])
    fail(server, 9, grpc.StatusCode.INTERNAL)
    classifier.predict(as_file())
    value = registry.get_sample_value
    one = {"model": "image_classifier", "version": "1", "label": "stable"}
    images = "tfs_client_images_total"
    assert value(images, {**one, "outcome": "valid", "needs_review": "false"}) == 1
    assert value(images, {**one, "outcome": "not_valid", "needs_review": "true"}) == 1
    default = {**one, "version": "0", "outcome": "default", "needs_review": "true"}
    assert value(images, default) == 1
    probability = "tfs_client_image_probability"
    assert value(f"{probability}_count", one) == 1
    assert value(f"{probability}_sum", one) == pytest.approx(0.1)
    assert value(f"{probability}_bucket", {**one, "le": "0.05"}) == 0


def test_one_registry_takes_one_object_and_many_clients(server, open_client):
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for _ in range(2):
        ask(open_client(server.target, observers=[metrics]))
    labels = {"method": "Predict", "model": "echo", "label": "stable", "code": "OK"}
    assert registry.get_sample_value("tfs_client_requests_total", labels) == 2
    with pytest.raises(RequestError, match="share one Metrics"):
        Metrics(registry)
    Metrics(registry, namespace="another")


@pytest.mark.parametrize(
    ("name", "lacks"), [("opentelemetry", "opentelemetry"), ("prometheus", "prometheus_client")]
)
def test_without_its_library_an_observer_says_what_to_install(name, lacks):
    script = (
        f"import sys; sys.modules[{lacks!r}] = None\n"
        "import tfs_client.client\n"
        "try:\n"
        f"    import tfs_client.observers.{name}\n"
        "except ImportError as error:\n"
        "    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert f"pip install 'tfs-client[{name}]'" in done.stdout
