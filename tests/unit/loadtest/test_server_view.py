"""The server's view of a load test: pages read and subtracted, and the split of a latency.

Against the page that a real TensorFlow Serving 2.19.1 gave (shared/recorded, copied here without
the families that are not read), against pages made by hand, and against servers that are none.
"""

from __future__ import annotations

import dataclasses
import http.server
import io
import json
import math
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from foundation.command_line import InputError
from loadtest.server import figure as server_figure, pages as server_pages, view as server_view
from loadtest.server.measured import Selection, measured
from loadtest.server.pages import Histogram, Page
from loadtest.server.scraper import METRICS_PATH, Scrape, Scraper, page_url
from loadtest.server.split import doubts, split
from tests.ports import free_port

ROOT = Path(__file__).parents[3]
CNN = Selection(model="cnn")

RECORDED = """\
# TYPE :tensorflow:cc:saved_model:load_attempt_count counter
:tensorflow:cc:saved_model:load_attempt_count{model_path="MODELS/cnn/1",status="success"} 1
:tensorflow:cc:saved_model:load_attempt_count{model_path="MODELS/cnn/1",status="success"} 1
# TYPE :tensorflow:cc:saved_model:load_latency counter
:tensorflow:cc:saved_model:load_latency{model_path="MODELS/cnn/1"} 97785
# TYPE :tensorflow:serving:batching_session:input_batch_size histogram
:tensorflow:serving:batching_session:input_batch_size_sum{} 90
:tensorflow:serving:batching_session:input_batch_size_count{} 19
# TYPE :tensorflow:serving:batching_session:padding_size histogram
:tensorflow:serving:batching_session:padding_size_sum{execution_batch_size="4"} 7
:tensorflow:serving:batching_session:padding_size_count{execution_batch_size="4"} 4
:tensorflow:serving:batching_session:padding_size_sum{execution_batch_size="8"} 0
:tensorflow:serving:batching_session:padding_size_count{execution_batch_size="8"} 8
# TYPE :tensorflow:serving:batching_session:processed_batch_size histogram
:tensorflow:serving:batching_session:processed_batch_size_sum{} 80
:tensorflow:serving:batching_session:processed_batch_size_count{} 12
# TYPE :tensorflow:serving:batching_session:queuing_latency histogram
:tensorflow:serving:batching_session:queuing_latency_sum{thread_pool_name=""} 1.91134e+06
:tensorflow:serving:batching_session:queuing_latency_count{thread_pool_name=""} 17
# TYPE :tensorflow:serving:batching_session:wrapped_run_count counter
:tensorflow:serving:batching_session:wrapped_run_count{} 11
# TYPE :tensorflow:serving:mlmd_map gauge
# TYPE :tensorflow:serving:model_warmup_latency histogram
# TYPE :tensorflow:serving:request_count counter
:tensorflow:serving:request_count{model_name="cnn",status="FAILED_PRECONDITION"} 2
:tensorflow:serving:request_count{model_name="cnn",status="INVALID_ARGUMENT"} 4
:tensorflow:serving:request_count{model_name="cnn",status="OK"} 12
:tensorflow:serving:request_count{model_name="cnn",status="UNAVAILABLE"} 1
:tensorflow:serving:request_count{model_name="many",status="INVALID_ARGUMENT"} 1
# TYPE :tensorflow:serving:request_example_count_total counter
# TYPE :tensorflow:serving:request_example_counts histogram
# TYPE :tensorflow:serving:request_latency histogram
:tensorflow:serving:request_latency_sum{model_name="cnn",API="Predict",entrypoint="GRPC"}\
 2.22015e+06
:tensorflow:serving:request_latency_count{model_name="cnn",API="Predict",entrypoint="GRPC"} 12
# TYPE :tensorflow:serving:request_log_count counter
# TYPE :tensorflow:serving:runtime_latency histogram
:tensorflow:serving:runtime_latency_sum{model_name="cnn",API="Predict",runtime="TF1"} 2.21921e+06
:tensorflow:serving:runtime_latency_count{model_name="cnn",API="Predict",runtime="TF1"} 12
"""


def test_the_recorded_page_of_a_real_server_is_read_to_the_digit() -> None:
    seen = measured(server_pages.parse(RECORDED), CNN)

    assert seen.by_status == (
        ("OK", 12),
        ("INVALID_ARGUMENT", 4),
        ("FAILED_PRECONDITION", 2),
        ("UNAVAILABLE", 1),
    )
    assert (seen.request.count, seen.request.mean) == (12, pytest.approx(2220.15 / 12))
    assert (seen.runtime.count, seen.runtime.mean) == (12, pytest.approx(2219.21 / 12))
    assert (seen.queuing.count, seen.queuing.mean) == (17, pytest.approx(1911.34 / 17))
    assert (seen.batch.count, seen.batch.mean) == (12, pytest.approx(80 / 12))
    assert seen.batch_sizes == ((4, 4), (8, 8))
    assert [p.value for p in seen.batch.percentiles] == [8, 8, 8]
    assert seen.rows == 80  # the exact sizes add up to what processed_batch_size says
    assert seen.padding_rows == 7
    assert seen.graph_run.mean is None
    # 2.22015e+06 is anything from 2220145 to 2220155
    assert seen.request.mean_error == pytest.approx(0.005 / 12)
    assert seen.batch.mean_error == 0


def test_the_recorded_page_splits_into_queue_and_the_rest_and_says_what_it_cannot_know() -> None:
    seen = measured(server_pages.parse(RECORDED), CNN)

    parts = split(seen, client_ms=200.0)

    assert parts is not None
    found = {part.name: part.mean_ms for part in parts.parts}
    assert found == {
        "network": pytest.approx(200 - 185.0125),
        "handler": pytest.approx(0.0783, abs=1e-3),
        "queue": pytest.approx(112.432, abs=1e-3),
        "batch and model": pytest.approx(72.502, abs=1e-3),
    }
    assert ["17 tasks in the queue for 12 runs" in note for note in doubts(seen, parts)] == [True]


def series(name: str, labels: str, values: list[float]) -> list[str]:
    """A latency's lines, with the buckets 10, 100 and 1000 µs."""
    at = f":tensorflow:serving:{name}"
    pairs = labels + "," * bool(labels)
    lines = [f"# TYPE {at} histogram"]
    for limit in (10, 100, 1000, math.inf):
        text = "+Inf" if math.isinf(limit) else limit
        count = sum(value < limit for value in values)
        lines.append(f'{at}_bucket{{{pairs}le="{text}"}} {count}')
    return [
        *lines,
        f"{at}_sum{{{labels}}} {sum(values):g}",
        f"{at}_count{{{labels}}} {len(values)}",
    ]


def page(
    request: list[float],
    runtime: list[float] | None = None,
    queue: list[float] | None = None,
    more: tuple[str, ...] = (),
    model: str = "m",
) -> str:
    """A server's page; latencies in µs."""
    runtime = request if runtime is None else runtime
    lines = [
        "# TYPE :tensorflow:serving:request_count counter",
        f':tensorflow:serving:request_count{{model_name="{model}",status="OK"}} {len(request)}',
        *series(
            "request_latency", f'model_name="{model}",API="Predict",entrypoint="GRPC"', request
        ),
        *series("runtime_latency", f'model_name="{model}",API="Predict",runtime="TF1"', runtime),
        *more,
    ]
    if queue is not None:
        lines += series("batching_session:queuing_latency", 'thread_pool_name=""', queue)
    return "\n".join(lines) + "\n"


M = Selection(model="m")


def scrape(tick: int, text: str | None, url: str = "http://a:1/") -> Scrape:
    found = None if text is None else server_pages.parse(text)
    return Scrape(
        url=url, tick=tick, at_s=1000.0 + tick, page=found, error="" if found else "nobody there"
    )


def test_what_is_counted_before_the_run_is_not_the_runs() -> None:
    before, after = page([900.0] * 50), page([900.0] * 50 + [50.0, 70.0])

    view = server_view.view([scrape(0, before), scrape(2, after)], M)

    assert view.whole is not None
    assert view.whole.measured.request.count == 2
    assert view.whole.measured.request.mean == pytest.approx(0.060)
    assert view.whole.measured.by_status == (("OK", 2),)
    assert view.whole.rate_per_s() == 1.0
    assert not view.partial


def test_a_series_that_appears_during_the_run_began_at_0() -> None:
    empty = "# TYPE :tensorflow:serving:request_latency histogram\n"

    view = server_view.view([scrape(0, empty), scrape(1, page([50.0]))], M)

    assert view.whole is not None
    assert view.whole.measured.request.count == 1


def test_a_percentile_is_interpolated_and_says_between_which_limits_the_truth_is() -> None:
    seen = measured(server_pages.parse(page([5.0] * 10 + [50.0] * 80 + [5000.0] * 10)), M)

    p50, p95, p99 = seen.request.percentiles
    assert (p50.value, p50.low, p50.high) == pytest.approx((0.010 + 0.090 * 40 / 80, 0.010, 0.100))
    # above the last limit nothing is known but that
    for above in (p95, p99):
        assert (above.value, above.low, above.high) == (1.0, 1.0, math.inf)


@given(st.lists(st.integers(1, 999), min_size=1, max_size=200), st.integers(1, 100))
def test_the_true_percentile_is_always_between_the_limits(values: list[int], share: int) -> None:
    histogram = server_pages.parse(page([float(value) for value in values])).histogram(
        "serving:request_latency"
    )
    found = histogram.percentile(share)
    assert found is not None
    value, low, high = found
    truth = sorted(values)[math.ceil(len(values) * share / 100) - 1]
    assert low <= truth < high
    assert low <= value <= high


def test_a_long_lived_servers_rounded_sums_are_marked_and_the_buckets_narrow_them() -> None:
    # 3 requests of 50 µs after so many that the sum's sixth digit is 10,000 µs
    buckets = (10.0, 100.0, 1000.0, math.inf)
    before = Histogram(buckets, (0, 0, 9_000_000, 0), 4.56789e9, 5000.0, 9_000_000)
    after = Histogram(buckets, (0, 3, 9_000_000, 0), 4.56789e9, 5000.0, 9_000_003)

    found = after.minus(before).mean()

    assert server_pages.printing_error(4.56789e9) == 5000.0
    assert found == pytest.approx((55.0, 45.0))  # all three are between 10 and 100


@pytest.mark.parametrize(
    ("printed", "error"),
    [
        (999_999.0, 0.0),
        (1.0e6, 5.0),
        (1.91134e6, 5.0),
        (1234567.891, 0.0),
        (2.5e12, 5e6),
        (0.0, 0.0),
    ],
)
def test_only_sums_that_six_digits_cannot_hold_are_uncertain(printed: float, error: float) -> None:
    assert server_pages.printing_error(printed) == error


def test_means_add_up_to_the_callers_mean() -> None:
    seen = measured(server_pages.parse(page([400.0, 600.0], [300.0, 500.0], [100.0, 200.0])), M)

    parts = split(seen, client_ms=2.0, late_ms=0.5)

    assert parts is not None
    assert [(part.name, round(part.mean_ms, 6)) for part in parts.parts] == [
        ("client", 0.5),
        ("network", 1.0),
        ("handler", 0.1),
        ("queue", 0.15),
        ("batch and model", 0.25),
    ]
    assert sum(part.mean_ms for part in parts.parts) == pytest.approx(2.0)
    assert sum(part.share for part in parts.parts) == pytest.approx(1.0)
    assert parts.share("queue", "batch and model") == pytest.approx(0.2)


def test_without_callers_the_servers_own_mean_is_split_and_without_batching_there_is_no_queue() -> (
    None
):
    parts = split(measured(server_pages.parse(page([400.0, 600.0], [300.0, 500.0])), M))

    assert parts is not None
    assert (parts.of, parts.whole_ms) == ("server", pytest.approx(0.5))
    assert [part.name for part in parts.parts] == ["handler", "model"]


def test_a_server_that_times_its_sessions_runs_tells_batch_and_model_apart() -> None:
    graph = ":tensorflow:core:graph_run_time_usecs_histogram"
    batches = ":tensorflow:serving:batching_session:padding_size"
    two = '{execution_batch_size="2"}'
    more = (
        f"# TYPE {graph} histogram",
        *(f"{graph}_sum{{}} 200", f"{graph}_count{{}} 1"),
        f"# TYPE {batches} histogram",
        *(f"{batches}_sum{two} 0", f"{batches}_count{two} 1"),
    )
    text = page([400.0, 600.0], [300.0, 500.0], [100.0, 200.0], more)

    parts = split(measured(server_pages.parse(text), M))

    assert parts is not None
    assert {p.name: round(p.mean_ms, 6) for p in parts.parts} == {
        "handler": 0.1,
        "queue": 0.15,
        "batch": 0.05,
        "model": 0.2,
    }
    # runs that are not batches (a model that is loaded, say): not told apart
    other = split(
        measured(
            server_pages.parse(text.replace(f"{graph}_count{{}} 1", f"{graph}_count{{}} 2")), M
        )
    )
    assert other is not None
    assert other.parts[-1].name == "batch and model"


def batches_and_runs(batches: int, runs: int) -> tuple[str, ...]:
    """Batches of two rows as they begin, and runs of 0.2 ms as they end."""
    padding = ":tensorflow:serving:batching_session:padding_size"
    graph = ":tensorflow:core:graph_run_time_usecs_histogram"
    two = '{execution_batch_size="2"}'
    return (
        *(f"# TYPE {padding} histogram", f"{padding}_sum{two} 0"),
        *(f"{padding}_count{two} {batches}", f"# TYPE {graph} histogram"),
        *(f"{graph}_sum{{}} {200 * runs}", f"{graph}_count{{}} {runs}"),
    )


@pytest.mark.parametrize(
    ("runs", "parts"),
    [
        ((0, 3, 8), ["handler", "queue", "batch", "model"]),
        ((0, 3, 9), ["handler", "queue", "batch and model"]),  # a version was loaded meanwhile
    ],
)
def test_every_second_has_the_parts_of_the_whole_run(
    runs: tuple[int, int, int], parts: list[str]
) -> None:
    # A batch is under way between the seconds: the first has one run less than batches.
    scrapes = [
        scrape(
            at,
            page([600.0] * 4 * at, [500.0] * 4 * at, [100.0] * 4 * at, batches_and_runs(4 * at, n)),
        )
        for at, n in enumerate(runs)
    ]

    view = server_view.view(scrapes, M)

    assert view.whole is not None
    splits = [window.split for window in (view.whole, *view.seconds)]
    assert [[part.name for part in found.parts] for found in splits if found] == [parts] * 3


def test_other_models_and_rests_metadata_are_not_the_runs_but_their_batches_are_admitted() -> None:
    other = series("request_latency", 'model_name="x",API="Predict",entrypoint="GRPC"', [9.0] * 7)
    metadata = series("request_latency", 'model_name="m",API="",entrypoint="REST"', [9.0] * 7)
    runs = series("runtime_latency", 'model_name="x",API="Predict",runtime="TF1"', [9.0] * 7)
    more = tuple(line for line in (*other, *metadata, *runs) if not line.startswith("#"))
    text = page([400.0, 600.0], queue=[100.0] * 9)
    # a family's series stand together on a page
    lines = text.splitlines()
    for family in ("request_latency", "runtime_latency"):
        at = lines.index(f"# TYPE :tensorflow:serving:{family} histogram") + 1
        lines[at:at] = [line for line in more if f":{family}" in line]

    seen = measured(server_pages.parse("\n".join(lines)), M)

    assert (seen.request.count, seen.request.mean) == (2, pytest.approx(0.5))
    assert (seen.runtime.count, seen.other_runs) == (2, 7)
    assert "queue and batches are those of all models: 7 runs" in doubts(seen, split(seen))[0]


def test_a_selection_by_entrypoint_takes_only_its_requests() -> None:
    text = page([400.0]).replace(
        'API="Predict",entrypoint="GRPC"', 'API="predict",entrypoint="REST"'
    )
    found = server_pages.parse(text)

    assert measured(found, M).request.count == 1
    assert measured(found, Selection(model="m", entrypoints=("GRPC",))).request.count == 0
    assert measured(found, Selection(model="m", apis=("classify",))).request.count == 0


def test_a_negative_part_is_shown_and_doubted() -> None:
    seen = measured(server_pages.parse(page([400.0])), M)

    parts = split(seen, client_ms=0.3)

    assert parts is not None
    assert parts.parts[0].mean_ms == pytest.approx(-0.1)
    assert "network comes out below 0" in doubts(seen, parts)[0]


def test_servers_are_added_up() -> None:
    scrapes = [
        *(scrape(0, page([50.0]), "http://a:1/"), scrape(1, page([50.0, 70.0]), "http://a:1/")),
        *(scrape(0, page([]), "http://b:1/"), scrape(1, page([20.0, 30.0]), "http://b:1/")),
    ]

    view = server_view.view(scrapes, M)

    assert view.whole is not None
    assert view.whole.servers == 2
    assert view.whole.measured.request.count == 3
    assert view.whole.measured.request.mean == pytest.approx(0.040)
    assert [window.measured.request.count for window in view.seconds] == [3]


def test_a_restart_counts_both_lives_and_marks_the_view() -> None:
    texts = [page([50.0] * 5), page([50.0] * 8), None, page([70.0] * 2), page([70.0] * 4)]

    view = server_view.view([scrape(tick, text) for tick, text in enumerate(texts)], M)

    assert view.whole is not None
    assert view.whole.measured.request.count == 3 + 4
    assert view.whole.measured.request.mean == pytest.approx((3 * 0.05 + 4 * 0.07) / 7)
    assert (view.partial, view.restarts) == (True, 1)
    # the gap is no second: nobody knows what happened when in it
    assert [window.measured.request.count for window in view.seconds] == [3, 2]
    assert any("started anew 1 x" in note for note in view.notes)
    assert any("1 of 5 scrapes failed; the last: nobody there" in note for note in view.notes)


def test_a_restart_that_soon_counts_more_is_known_by_its_load() -> None:
    def loaded(latency: int, values: list[float]) -> str:
        return page(
            values,
            more=(
                "# TYPE :tensorflow:cc:saved_model:load_attempt_count counter",
                ':tensorflow:cc:saved_model:load_attempt_count{model_path="/m",status="success"} 1',
                "# TYPE :tensorflow:cc:saved_model:load_latency counter",
                f':tensorflow:cc:saved_model:load_latency{{model_path="/m"}} {latency}',
            ),
        )

    def count(second: int) -> int:
        scrapes = [scrape(0, loaded(100, [50.0])), scrape(1, None)]
        scrapes.append(scrape(2, loaded(second, [50.0] * 9)))
        view = server_view.view(scrapes, M)
        assert view.whole is not None
        return view.whole.measured.request.count

    assert count(100) == 8  # the same process: nine less the one before
    assert count(101) == 9  # another one


def test_a_server_that_is_never_seen_does_not_take_the_others_view() -> None:
    scrapes = [scrape(0, page([])), scrape(1, page([50.0])), scrape(0, None, "http://b:1/")]

    view = server_view.view(scrapes, M)

    assert view.whole is not None
    assert view.whole.measured.request.count == 1
    assert view.partial
    assert view.notes == ("http://b:1/: 1 of 1 scrapes failed; the last: nobody there",)


@pytest.mark.parametrize("scrapes", [[], [scrape(0, None)], [scrape(0, page([5.0]))]])
def test_a_view_of_nothing_is_partial_and_can_be_shown(scrapes: list[Scrape]) -> None:
    view = server_view.view(scrapes, M)

    assert (view.whole, view.partial) == (None, True)
    assert view.notes
    assert "partial" in view.as_text()
    assert json.dumps(view.as_json(), allow_nan=False)
    server_figure.figure(view).savefig(io.BytesIO(), format="svg")


def test_no_request_in_the_run_is_a_note_and_no_split() -> None:
    view = server_view.view([scrape(0, page([5.0])), scrape(1, page([5.0]))], M)

    assert view.whole is not None
    assert view.whole.split is None
    assert view.notes == ("no request of this model was answered while the pages were read",)


def times(count: int, latency_ms: float, late_ms: float | None = None) -> server_view.ClientTimes:
    return server_view.ClientTimes(
        ended_s=np.linspace(1000.01, 1001.99, count),
        latency_ms=np.full(count, latency_ms),
        late_ms=None if late_ms is None else np.full(count, late_ms),
    )


def test_callers_who_have_other_counts_than_the_servers_are_told() -> None:
    scrapes = [scrape(0, page([])), scrape(1, page([50.0] * 4))]

    same, other = (server_view.view(scrapes, M, times(count, 1.0)) for count in (4, 9))

    assert same.notes == ()
    assert "the callers have 9 right answers, the servers counted 4" in other.notes[0]


def test_text_and_json_and_figure_show_the_same_split() -> None:
    batches = "\n".join(RECORDED.splitlines()[8:16])
    texts = [page([]), page([500.0] * 3, [400.0] * 3, [100.0] * 3, (batches,))]
    texts.append(page([500.0] * 6, [400.0] * 6, [100.0] * 6, (batches,)))

    view = server_view.view(
        [scrape(at, text) for at, text in enumerate(texts)], M, times(6, 2.0, 0.5)
    )

    text = view.as_text()
    assert re.search(r"^queue +0\.100 +0\.000 +5\.0%$", text, re.M)
    assert re.search(r"^client's mean +2\.000$", text, re.M)
    assert "4 x 4, 8 x 8; 8.8% of the rows are padding" in text
    found = json.loads(json.dumps(view.as_json(), allow_nan=False))
    parts = {part["name"]: part["mean_ms"] for part in found["whole"]["split"]["parts"]}
    assert parts["queue"] == pytest.approx(0.1)
    assert len(found["seconds"]) == 2
    upper, lower = server_figure.figure(view).axes
    assert [bar.get_label() for bar in upper.containers] == [
        *("client", "network", "handler", "queue", "batch and model")
    ]
    tops = [patch.get_y() + patch.get_height() for patch in upper.containers[-1]]
    assert tops == pytest.approx([100, 100])
    assert [patch.get_height() for patch in lower.patches] == [4, 8]


def test_the_stump_between_the_last_second_and_the_runs_end_is_no_second_of_its_own() -> None:
    scrapes = [scrape(at, page([50.0] * at)) for at in range(4)]
    scrapes.append(dataclasses.replace(scrape(4, page([50.0] * 9)), at_s=1003.01))

    view = server_view.view(scrapes, M)

    assert [window.measured.request.count for window in view.seconds] == [1, 1, 1]
    assert view.whole is not None
    assert view.whole.measured.request.count == 9


@pytest.mark.parametrize(("grown_us", "bars"), [(20_000, 0), (2_000_000, 1)])
def test_a_second_that_six_digits_cannot_resolve_is_not_drawn(grown_us: int, bars: int) -> None:
    def lived(count: int, total_us: int) -> str:
        lines = [line for line in page([50.0] * count).splitlines() if "_bucket" not in line]
        return re.sub(r"(_sum\{.*\}) .*", rf"\1 {total_us:g}", "\n".join(lines) + "\n")

    texts = [lived(5, 10**9), lived(6, 10**9 + grown_us)]  # printed to 10,000 µs

    view = server_view.view([scrape(at, text) for at, text in enumerate(texts)], M)

    containers = server_figure.figure(view).axes[0].containers
    assert [len(bar) for bar in containers] == [1] * bars


def test_the_path_is_that_of_the_servers_configuration() -> None:
    config = (ROOT / "serving" / "monitoring.config").read_text()
    assert re.findall(r'path: "(.*)"', config) == [METRICS_PATH]


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("localhost:8501", f"http://localhost:8501{METRICS_PATH}"),
        ("http://pod:8501", f"http://pod:8501{METRICS_PATH}"),
        ("http://pod:8501/", f"http://pod:8501{METRICS_PATH}"),
        ("https://gate/metrics?x=1", "https://gate/metrics?x=1"),
        ("[::1]:8501", f"http://[::1]:8501{METRICS_PATH}"),
    ],
)
def test_an_address_is_a_rest_port_or_a_whole_url(address: str, url: str) -> None:
    assert page_url(address) == url


@pytest.mark.parametrize(
    "address",
    ["", "localhost", ":8501", "localhost:port", "localhost:99999", "[::1", "ftp://a:1/m"],
)
def test_another_address_is_refused_in_one_line(address: str) -> None:
    with pytest.raises(InputError, match=r"Expected host:port .* Received: '") as refused:
        Scraper([address])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html><body>hello</body></html>",
        "# TYPE up gauge\nup 1\n",
        page([5.0]) + ':tensorflow:serving:request_count{model_name="a} 1\n',
        page([5.0]).replace("_sum{", "_sum{ {"),
    ],
)
def test_what_is_no_page_of_tensorflow_serving_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match=r"Expected .* Received: ") as refused:
        server_pages.parse(text)
    assert "\n" not in str(refused.value)


@given(st.text(max_size=80))
def test_no_line_breaks_the_reader_with_another_error(line: str) -> None:
    text = page([5.0]) + f":tensorflow:serving:request_count{line}\n"
    with suppress(InputError):
        assert isinstance(server_pages.parse(text), Page)


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """Something that speaks HTTP and says this."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, b"<html>", "Received: HTTP 404. Start the server with --monitoring_config_file"),
        (200, b"<html>", "Expected TensorFlow Serving's metrics. Received: '<html>'"),
        (200, b"\xff\x00\n" * 10, "Expected TensorFlow Serving's metrics."),
    ],
)
def test_a_server_without_the_page_is_a_note_and_no_exception(
    status: int, body: bytes, words: str
) -> None:
    with answering(status, body) as address, Scraper([address], interval_s=0.05) as scraper:
        time.sleep(0.1)

    view = server_view.view(scraper.scrapes(), M)
    assert len(scraper.scrapes()) >= 2
    assert (view.whole, view.partial) == (None, True)
    assert words in view.notes[0]


def test_a_port_where_nobody_listens_is_a_note_and_costs_no_time() -> None:
    begin = time.monotonic()
    with Scraper([f"127.0.0.1:{free_port()}"], interval_s=0.05) as scraper:
        time.sleep(0.1)

    assert time.monotonic() - begin < 2
    assert "Connection refused" in server_view.view(scraper.scrapes(), M).notes[0]


def test_a_server_that_never_answers_holds_up_neither_the_run_nor_the_other_servers() -> None:
    with (
        answering(200, page([5.0]).encode()) as address,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        begin = time.monotonic()
        addresses = [f"127.0.0.1:{silent.getsockname()[1]}", address]
        with Scraper(addresses, interval_s=0.05, timeout_s=0.3) as scraper:
            time.sleep(0.5)
        assert time.monotonic() - begin < 3

    pages = [scrape.page is not None for scrape in scraper.scrapes() if address in scrape.url]
    assert len(pages) >= 5
    assert all(pages)
    assert "timed out" in " ".join(server_view.view(scraper.scrapes(), M).notes)
