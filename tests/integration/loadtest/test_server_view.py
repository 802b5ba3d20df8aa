"""The server's view of a load, scraped from real local servers, each a process of its own."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from loadtest.server.measured import Measured, Selection
from loadtest.server.scraper import Scraper
from loadtest.server.split import Split
from loadtest.server.view import ClientTimes, ServerView, view
from tests import forked_server
from tests.integration.local_server_fixtures import (
    ROOT,
    SLOW_CONFIG,
    SLOW_ROUNDS,
    RunningServer,
    eventually,
    line_config,
    save_line_and_slow,
    slow_request,
    x_request,
)
from tests.ports import free_port

CONFIG = line_config("latest { num_versions: 1 }", more=SLOW_CONFIG)
MONITORING = f"--monitoring_config_file={ROOT / 'serving' / 'monitoring.config'}"
LINE, SLOW = Selection(model="line"), Selection(model="slow")

Start = Callable[..., AbstractContextManager[RunningServer]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_line_and_slow(tmp_path_factory.mktemp("server_view") / "models")


@pytest.fixture(scope="module")
def start(models: Path) -> Start:
    """(name, more flags, batching parameters, monitoring flag) → a running server."""
    (models.parent / "models.config").write_text(CONFIG)

    @contextmanager
    def started(
        name: str, *flags: str, batching: str = "", monitoring: str = MONITORING
    ) -> Iterator[RunningServer]:
        folder = models.parent / name
        folder.mkdir(exist_ok=True)
        if batching:
            (folder / "batching.config").write_text(batching)
            flags += ("--enable_batching", f"--batching_parameters_file={folder}/batching.config")
        flags += (monitoring,) if monitoring else ()
        config = models.parent / "models.config"
        with forked_server.serving(folder, *flags, config=config, models=models) as found:
            process, ports, log = found
            server = RunningServer(ports, process, log)
            yield server
            server.channel.close()

    return started


@pytest.fixture(scope="module")
def plain(start: Start) -> Iterator[RunningServer]:
    with start("plain") as server:
        yield server


def rest(server: RunningServer) -> str:
    return f"127.0.0.1:{server.ports['rest']}"


def timed(send: Callable[[], Any]) -> tuple[float, float]:
    """(unix time of the answer, latency in ms)."""
    begin = time.perf_counter()
    send()
    return time.time(), 1000 * (time.perf_counter() - begin)


def load(send: Callable[[], Any], count: int, callers: int = 4) -> ClientTimes:
    """Sends so many requests, of so many at once."""
    with futures.ThreadPoolExecutor(callers) as pool:
        answers = list(pool.map(lambda _: timed(send), range(count)))
    ended_s, latency_ms = zip(*answers)
    return ClientTimes(ended_s=np.array(ended_s), latency_ms=np.array(latency_ms))


def predict(server: RunningServer, request: Any) -> Callable[[], Any]:
    return lambda: server.prediction.Predict(request, timeout=30)


def whole(seen: ServerView) -> tuple[Measured, Split]:
    assert seen.whole is not None, seen.notes
    assert seen.whole.split is not None, seen.notes
    return seen.whole.measured, seen.whole.split


def test_what_is_counted_is_what_was_sent_and_the_means_are_in_order(plain: RunningServer) -> None:
    load(predict(plain, x_request()), 7)  # before the run: none of it may be counted

    with Scraper([rest(plain)], interval_s=0.2) as scraper:
        times = load(predict(plain, x_request()), 60)
        refused = [plain.line("signature_name: 'none'") for _ in range(3)]
        plain.states()  # neither a request of the model nor one at all

    seen = view(scraper.scrapes(), LINE, times)
    measured, parts = whole(seen)
    assert set(refused) == {"FAILED_PRECONDITION"}
    assert measured.by_status == (("OK", 60), ("FAILED_PRECONDITION", 3))
    assert measured.request.count == measured.runtime.count == 60
    assert measured.request.mean is not None
    assert measured.runtime.mean is not None
    assert 0 < measured.runtime.mean < measured.request.mean < float(times.latency_ms.mean())
    assert [part.name for part in parts.parts] == ["network", "handler", "model"]
    assert all(part.mean_ms > 0 for part in parts.parts)
    assert sum(part.mean_ms for part in parts.parts) == pytest.approx(times.latency_ms.mean())
    assert sum(window.measured.request.count for window in seen.seconds) <= 60
    assert measured.queuing.count == measured.batch.count == 0
    assert (seen.partial, seen.notes) == (False, ())
    p50 = measured.request.percentiles[0]
    assert p50.low < measured.request.mean * 2
    assert p50.high == pytest.approx(1.8 * p50.low, rel=1e-3)  # TensorFlow Serving's buckets


def test_rest_is_counted_with_its_json_in_the_handler(plain: RunningServer) -> None:
    body = json.dumps({"instances": [1.5] * 20_000})

    with Scraper([rest(plain)]) as scraper:
        times = load(lambda: plain.rest("POST", "/v1/models/line:predict", body), 6, callers=1)
        plain.rest("GET", "/v1/models/line/metadata")
        load(predict(plain, x_request()), 5)

    over_rest = Selection(model="line", entrypoints=("REST",))
    measured, parts = whole(view(scraper.scrapes(), over_rest, times))
    assert measured.request.count == 6
    assert measured.runtime.count == 11  # which does not tell the entrypoints apart
    assert parts.share("handler") > parts.share("model")
    notes = view(scraper.scrapes(), over_rest, times).notes
    assert any("11 runs for 6 answers" in note for note in notes)


def test_a_slow_models_time_is_the_models(plain: RunningServer) -> None:
    with Scraper([rest(plain)], interval_s=0.1) as scraper:
        times = load(predict(plain, slow_request(SLOW_ROUNDS // 3)), 20, callers=1)

    seen = view(scraper.scrapes(), SLOW, times)
    measured, parts = whole(seen)
    assert measured.request.count == 20
    assert parts.share("model") > 0.8
    spread = [window for window in seen.seconds if window.split is not None]
    assert len(spread) >= 2
    # An answer at the edge of a second may be counted in one and arrive in the next.
    assert all(window.split and window.split.share("model") > 0.5 for window in spread)


@pytest.fixture(scope="module")
def batching(start: Start) -> Iterator[RunningServer]:
    """A server that makes batches, and waits long for them."""
    parameters = (
        "max_batch_size { value: 8 } batch_timeout_micros { value: 300000 } "
        "num_batch_threads { value: 2 } allowed_batch_sizes: 4 allowed_batch_sizes: 8"
    )
    with start("batching", batching=parameters) as server:
        yield server


def test_a_long_batch_timeouts_time_is_the_queues_and_batches_are_counted_exactly(
    batching: RunningServer,
) -> None:
    load(predict(batching, x_request()), 1)
    with Scraper([rest(batching)]) as scraper:
        times = load(predict(batching, x_request((1.0, 2.0, 3.0))), 4, callers=1)

    seen = view(scraper.scrapes(), LINE, times)
    measured, parts = whole(seen)
    assert [part.name for part in parts.parts] == [
        *("network", "handler", "queue", "batch", "model"),
    ]
    assert parts.share("queue") > 0.8
    assert measured.queuing.mean == pytest.approx(300, abs=100)
    assert measured.queuing.count == measured.request.count == 4
    assert measured.batch_sizes == ((4, 4),)
    assert (measured.rows, measured.padding_rows, measured.batch.mean) == (16, 4, 4)
    assert all(part.mean_ms >= 0 for part in parts.parts)
    assert seen.notes == ()
    assert [p.value for p in measured.batch.percentiles] == [4, 4, 4]  # exact, unlike the buckets
    assert "4 x 4; 25.0% of the rows are padding" in seen.as_text()


def test_with_batching_a_slow_models_time_is_still_the_models(batching: RunningServer) -> None:
    full = slow_request(SLOW_ROUNDS // 5)
    rows = [SLOW_ROUNDS // 5] * 8  # a full batch waits for no other request
    full.inputs["rounds"].CopyFrom(tf.make_tensor_proto(rows, tf.int32))
    with Scraper([rest(batching)]) as scraper:
        times = load(predict(batching, full), 4, callers=1)

    measured, parts = whole(view(scraper.scrapes(), SLOW, times))
    assert measured.batch_sizes == ((8, 4),)
    assert parts.share("model") > 0.8


def test_two_servers_are_one_view(plain: RunningServer, batching: RunningServer) -> None:
    with Scraper([rest(plain), rest(batching)]) as scraper:
        load(predict(plain, x_request()), 5)
        load(predict(batching, x_request()), 8)

    seen = view(scraper.scrapes(), LINE)
    measured, _ = whole(seen)
    assert measured.request.count == 13
    assert seen.whole is not None
    assert seen.whole.servers == 2
    assert not seen.partial


def test_a_server_that_is_killed_keeps_its_counts_and_is_counted_again_when_it_is_back(
    start: Start,
) -> None:
    port = f"--rest_api_port={free_port()}"
    with start("killed", port) as first:
        load(predict(first, x_request()), 9)
        scraper = Scraper([rest(first)], interval_s=0.1)
        scraper.__enter__()
        load(predict(first, x_request()), 10)
        time.sleep(0.3)  # a page of it, before it dies
        first.stop(signal.SIGKILL)
        eventually(lambda: any(row.page is None for row in scraper.scrapes()), "it is missed")

    gone = view(scraper.scrapes(), LINE)
    measured, _ = whole(gone)
    assert measured.request.count == 10
    assert (gone.partial, gone.restarts) == (True, 0)
    assert any("scrapes failed; the last: " in note for note in gone.notes)

    with start("killed", port) as again:
        eventually(lambda: again.states().get(1) == "AVAILABLE", "it serves again")
        load(predict(again, x_request()), 30)  # more than its first life: nothing has fallen
        scraper.__exit__(None, None, None)

    seen = view(scraper.scrapes(), LINE)
    measured, _ = whole(seen)
    assert measured.request.count == 10 + 30
    assert (seen.partial, seen.restarts) == (True, 1)
    assert any("started anew 1 x" in note for note in seen.notes)


def test_a_server_without_monitoring_is_said_to_lack_it(start: Start) -> None:
    with start("none", monitoring="") as server, Scraper([rest(server)]) as scraper:
        load(predict(server, x_request()), 2)

    seen = view(scraper.scrapes(), LINE)
    assert (seen.whole, seen.partial) == (None, True)
    assert "HTTP 404. Start the server with --monitoring_config_file" in seen.notes[0]
