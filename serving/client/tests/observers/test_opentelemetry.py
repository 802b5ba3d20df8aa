"""Spans where calls fail, hang, are cancelled, hedged or not sampled; over real sockets."""

from __future__ import annotations

import asyncio
import threading

import grpc
import numpy as np
import pytest
from opentelemetry import baggage, context, propagate
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from tfs_client import (
    AnswerError,
    AsyncClient,
    AsyncImageClassifier,
    Breaker,
    CircuitOpenError,
    Client,
    ClosedClientError,
    Retry,
    Servable,
    UnavailableError,
)
from tfs_client.observers.opentelemetry import Tracing, _address
from tfs_client.wire import tensors

QUICK = Retry(backoff_s=0.001)
CANARY = Servable(model="echo", label="canary")


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def make_provider(exporter):
    """A function that makes a tracer provider with the exporter."""
    made = []

    def make(**settings):
        made.append(TracerProvider(shutdown_on_exit=False, **settings))
        made[-1].add_span_processor(SimpleSpanProcessor(exporter))
        return made[-1]

    yield make
    for one in made:
        one.shutdown()


@pytest.fixture
def provider(make_provider):
    return make_provider()


@pytest.fixture
def watched(server, open_client, provider):
    """A client that has the model's metadata already, so that predict makes one call."""
    return known(open_client(server.target, observers=[Tracing(provider)], retry=QUICK))


def known(client):
    client.metadata(model="echo", label="stable")
    return client


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


def only(exporter, name="/Predict"):
    (span,) = [span for span in exporter.get_finished_spans() if span.name.endswith(name)]
    return span


def events(span, name):
    return [dict(event.attributes) for event in span.events if event.name == name]


def sent_context(metadata):
    """(trace id, span id, sampled) of the traceparent that reached the server."""
    version, trace_id, span_id, flags = metadata["traceparent"].split("-")
    assert (version, len(trace_id), len(span_id), len(flags)) == ("00", 32, 16, 2)
    return int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & 1)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("metadata", "tensorflow.serving.PredictionService/GetModelMetadata"),
        ("status", "tensorflow.serving.ModelService/GetModelStatus"),
    ],
)
def test_every_call_has_a_span_of_its_service_and_method(
    server, open_client, provider, exporter, call, name
):
    getattr(open_client(server.target, observers=[Tracing(provider)]), call)()
    (span,) = exporter.get_finished_spans()
    assert span.name == name
    assert f"{span.attributes['rpc.service']}/{span.attributes['rpc.method']}" == name
    assert "tfs.label" not in span.attributes
    assert sent_context(server.requests[-1].metadata)[0] == span.context.trace_id


def test_a_span_counts_the_bytes_of_both_directions(server, watched, exporter):
    ask(watched)
    attributes = only(exporter).attributes
    assert attributes["tfs.request_bytes"] == server.asked()[0].message.ByteSize()
    assert attributes["tfs.answer_bytes"] > 20


def test_without_a_span_of_the_callers_each_call_is_a_trace_of_its_own(server, watched, exporter):
    ask(watched)
    ask(watched)
    spans = exporter.get_finished_spans()
    assert all(span.parent is None for span in spans)
    assert len({span.context.trace_id for span in spans}) == 3


def test_each_attempt_that_failed_is_an_event_with_the_pause_until_the_next(
    server, watched, exporter
):
    fail(server, 9)
    with pytest.raises(UnavailableError):
        ask(watched)
    span = only(exporter)
    failed = events(span, "tfs.attempt_failed")
    assert [event["error.type"] for event in failed] == ["UnavailableError"] * 3
    assert [event.get("tfs.pause_s", -1) >= 0 for event in failed] == [True, True, False]
    assert span.attributes["tfs.attempts"] == 3
    assert span.attributes["rpc.grpc.status_code"] == 14
    assert span.attributes["error.type"] == "UnavailableError"
    (raised,) = events(span, "exception")
    assert (
        raised["exception.type"].rpartition(".")[2] == "UnavailableError"
    )  # SDKs differ before it


def test_an_answer_that_cannot_be_read_is_an_error_of_the_span(server, watched, exporter):
    server.handlers["Predict"] = lambda request, context: b"\xff\xff no message"
    with pytest.raises(AnswerError):
        ask(watched)
    span = only(exporter)
    assert span.status.status_code is StatusCode.ERROR
    assert "Expected a PredictResponse" in span.status.description
    assert span.attributes["rpc.grpc.status_code"] == 0
    assert span.attributes["error.type"] == "AnswerError"
    assert len(events(span, "exception")) == 1


def test_a_call_that_the_circuit_holds_back_is_a_span_without_attempts(
    server, open_client, provider, exporter
):
    breaker = Breaker(min_calls=1, open_s=60)
    watching = [Tracing(provider)]
    client = known(open_client(server.target, observers=watching, breaker=breaker, retry=None))
    fail(server, 99)
    with pytest.raises(UnavailableError):
        ask(client)
    exporter.clear()
    with pytest.raises(CircuitOpenError):
        ask(client)
    span = only(exporter)
    assert (span.attributes["tfs.attempts"], span.status.status_code) == (0, StatusCode.ERROR)
    assert len(server.asked("Predict")) == 1


def test_a_hedged_call_is_one_span_and_both_attempts_carry_it(
    server, open_client, provider, exporter
):
    client = known(
        open_client(server.target, observers=[Tracing(provider)], hedge_after_s=0.05, retry=QUICK)
    )
    first, release, honest = iter([True]), threading.Event(), server.usual("Predict")

    def slow_once(request, context):
        if next(first, False):
            release.wait(10)
        return honest(request, context)

    server.handlers["Predict"] = slow_once
    ask(client)
    release.set()
    span = only(exporter)
    assert span.attributes["tfs.attempts"] == 2
    sent = [sent_context(one.metadata)[1] for one in server.requests[-2:]]
    assert sent == [span.context.span_id] * 2


def test_a_client_that_is_closed_in_the_middle_of_a_call_ends_its_span(server, provider, exporter):
    reached, release = hang(server)
    client = known(Client(server.target, observers=[Tracing(provider)], timeout_s=8))
    caught = []

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
    assert len(caught) == 1
    span = only(exporter)
    assert span.status.status_code is StatusCode.ERROR
    assert "rpc.grpc.status_code" not in span.attributes


def test_a_cancelled_task_is_an_error_of_the_span_but_no_exception(server, provider, exporter):
    async def body():
        async with AsyncClient(server.target, observers=[Tracing(provider)]) as client:
            await client.metadata(model="echo", label="stable")
            reached, release = hang(server)
            task = asyncio.ensure_future(ask(client))
            await asyncio.to_thread(reached.wait, 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            release.set()

    asyncio.run(body())
    span = only(exporter)
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "cancelled")
    assert events(span, "exception") == []
    assert span.attributes["rpc.grpc.status_code"] == grpc.StatusCode.CANCELLED.value[0]


def test_a_fallback_is_an_event_of_the_callers_span(server, provider, exporter):
    fail(server, 2, grpc.StatusCode.INTERNAL)
    tracer = provider.get_tracer("caller")
    with (
        Client(server.target, observers=[Tracing(provider)]) as client,
        tracer.start_as_current_span("caller") as caller,
    ):
        ask(client, fallback=[CANARY], default={"x": [0.0]})
    fell_back = events(caller, "tfs.fell_back")
    assert [(one["tfs.from"], one["tfs.to"]) for one in fell_back] == [
        ("echo/labels/stable", "echo/labels/canary"),
        ("echo/labels/canary", "default"),
    ]
    assert {one["error.type"] for one in fell_back} == {"ServerError"}


def test_tasks_of_one_loop_do_not_mix_up_their_fallbacks(server, provider, exporter):
    tracer = provider.get_tracer("caller")
    stable = server.usual("Predict")

    def broken_for_odd(request, context):
        odd = tensors.from_proto(request.inputs["x"]) % 2
        if odd and request.model_spec.version_label == "stable":
            context.abort(grpc.StatusCode.INTERNAL, "odd")
        return stable(request, context)

    async def one(client, number):
        with tracer.start_as_current_span("caller") as span:
            value = np.float32(number)
            await client.predict({"x": value}, model="echo", label="stable", fallback=[CANARY])
        return len(events(span, "tfs.fell_back"))

    async def body():
        async with AsyncClient(server.target, observers=[Tracing(provider)]) as client:
            await client.metadata(model="echo", label="stable")
            return await asyncio.gather(*(one(client, number) for number in range(8)))

    server.handlers["Predict"] = broken_for_odd
    assert asyncio.run(body()) == [0, 1] * 4


def test_the_requests_of_an_asynchronous_stream_are_children_of_the_callers_span(
    server, provider, exporter
):
    async def body():
        async with AsyncClient(server.target, observers=[Tracing(provider)]) as client:
            classifier = AsyncImageClassifier(client, batch_size=1)
            with provider.get_tracer("caller").start_as_current_span("caller") as span:
                pixels = np.zeros((4, 64, 64, 3), np.uint8)
                async for _ in classifier.stream(pixels, concurrency=2):
                    pass
        return span.context.span_id

    caller = asyncio.run(body())
    calls = [span for span in exporter.get_finished_spans() if span.name.endswith("/Predict")]
    assert len(calls) == 4
    assert {span.parent.span_id for span in calls} == {caller}


def test_each_thread_has_its_own_parent(server, provider, exporter):
    tracer = provider.get_tracer("caller")
    parents: dict[int, int] = {}

    def call(client, number):
        with tracer.start_as_current_span("caller") as span:
            for _ in range(5):
                ask(client, metadata=[("x-number", str(number))])
        parents[number] = span.context.trace_id

    with Client(server.target, observers=[Tracing(provider)]) as client:
        known(client)
        threads = [threading.Thread(target=call, args=(client, at)) for at in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    asked = [one.metadata for one in server.requests if "x-number" in one.metadata]
    assert len(asked) == 40
    for metadata in asked:
        assert sent_context(metadata)[0] == parents[int(metadata["x-number"])]


def test_what_is_not_sampled_makes_no_span_and_the_server_is_told(
    server, open_client, make_provider, exporter
):
    provider = make_provider(sampler=sampling.ALWAYS_OFF)
    fail(server, 1)
    ask(open_client(server.target, observers=[Tracing(provider)], retry=QUICK))
    assert exporter.get_finished_spans() == ()
    assert sent_context(server.requests[-1].metadata)[2] is False


def test_baggage_goes_along(server, provider):
    with Client(server.target, observers=[Tracing(provider)]) as client:
        token = context.attach(baggage.set_baggage("customer", "Müller & Co"))
        try:
            ask(client)
        finally:
            context.detach(token)
    assert server.requests[-1].metadata["baggage"] == "customer=M%C3%BCller+%26+Co"


def test_where_nobody_set_up_tracing_calls_go_on(server, open_client, caplog):
    fail(server, 1)
    client = open_client(server.target, observers=[Tracing()], retry=QUICK)
    assert ask(client, fallback=[CANARY])["x"].tolist() == [1.0]
    assert "traceparent" not in server.requests[-1].metadata
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("target", "address", "port"),
    [
        ("localhost:8500", "localhost", 8500),
        ("tf-serving:8500", "tf-serving", 8500),
        ("127.0.0.1:8500", "127.0.0.1", 8500),
        ("dns:8500", "dns", 8500),
        ("dns:models:8500", "models", 8500),
        ("dns:///[2001:db8::1]:8500", "2001:db8::1", 8500),
        ("dns:///models.example", "models.example", None),
        ("ipv6:[::1]:8500,[::2]:8500", "::1", 8500),
        ("xds:///models", "models", None),
        ("vsock:2:8500", "vsock:2:8500", None),
    ],
)
def test_a_host_is_not_taken_for_a_scheme(target, address, port):
    found = _address(target)
    assert (found["server.address"], found.get("server.port")) == (address, port)


def test_two_tracings_of_one_client_end_both_their_spans(server, open_client):
    exporters = [InMemorySpanExporter(), InMemorySpanExporter()]
    providers = [TracerProvider(shutdown_on_exit=False) for _ in exporters]
    for provider, its_exporter in zip(providers, exporters):
        provider.add_span_processor(SimpleSpanProcessor(its_exporter))
    ask(open_client(server.target, observers=[Tracing(provider) for provider in providers]))
    assert [len(one.get_finished_spans()) for one in exporters] == [2, 2]
    for provider in providers:
        provider.shutdown()


def test_what_the_caller_sends_by_the_same_name_is_replaced(server, watched, exporter):
    ask(watched, metadata=[("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"), ("x-own", "kept")])
    assert sent_context(server.requests[-1].metadata)[1] == only(exporter).context.span_id
    assert server.requests[-1].metadata["x-own"] == "kept"


def test_a_propagator_that_writes_what_grpc_refuses_harms_no_call(watched, exporter, caplog):
    class Odd(TextMapPropagator):
        fields = frozenset({"Odd"})

        def extract(self, carrier, context=None, getter=None):
            return context

        def inject(self, carrier, context=None, setter=None):
            carrier["Odd"] = "Müller"

    usual = propagate.get_global_textmap()
    propagate.set_global_textmap(Odd())
    try:
        assert ask(watched)["x"].tolist() == [1.0]
    finally:
        propagate.set_global_textmap(usual)
    assert only(exporter).attributes["rpc.grpc.status_code"] == 0
    assert "the call goes on" in caplog.text
