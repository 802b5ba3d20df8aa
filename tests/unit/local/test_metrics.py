"""The metrics registry and its page."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from serving.local import metrics
from serving.local.metrics import Counter, Histogram, exponential

SAMPLE = re.compile(r'[a-zA-Z_:][a-zA-Z0-9_:]*\{([a-zA-Z_]\w*="(?:[^"\\\n]|\\.)*",?)*\} \S+')


def test_a_counter_grows_for_each_combination_of_labels() -> None:
    counter = Counter("/tensorflow/serving/request_count", "model_name", "status")

    counter.increment("b", "OK")
    counter.increment("a", "OK", by=2)
    counter.increment("b", "OK")

    assert list(counter.lines()) == [
        "# TYPE :tensorflow:serving:request_count counter",
        ':tensorflow:serving:request_count{model_name="a",status="OK"} 2',
        ':tensorflow:serving:request_count{model_name="b",status="OK"} 2',
    ]


def test_a_histogram_counts_upwards_and_a_limit_belongs_to_the_bucket_above() -> None:
    histogram = Histogram("/x", [1, 2.5], "model")

    for value in (0, 1, 2, 2.5, 1000):
        histogram.observe(value, "m")

    assert list(histogram.lines()) == [
        "# TYPE :x histogram",
        ':x_bucket{model="m",le="1"} 1',
        ':x_bucket{model="m",le="2.5"} 3',
        ':x_bucket{model="m",le="+Inf"} 5',
        ':x_sum{model="m"} 1005.5',
        ':x_count{model="m"} 5',
    ]


def test_metrics_without_labels_have_empty_braces_as_tensorflow_serving_writes_them() -> None:
    counter, histogram = Counter("/c"), Histogram("/h", [1])
    counter.increment()
    histogram.observe(0)

    assert [*counter.lines(), *histogram.lines()] == [
        "# TYPE :c counter",
        ":c{} 1",
        "# TYPE :h histogram",
        ':h_bucket{le="1"} 1',
        ':h_bucket{le="+Inf"} 1',
        ":h_sum{} 0",
        ":h_count{} 1",
    ]


def test_no_label_breaks_the_page() -> None:
    counter = Counter("/c", "model")

    counter.increment('a"b\\c\nd')

    assert list(counter.lines())[1] == r':c{model="a\"b\\c\nd"} 1'


def test_the_buckets_are_tensorflow_servings() -> None:
    latencies, sizes = exponential(10, 1.8, 33), exponential(1, 2, 14)

    assert [f"{limit:g}" for limit in latencies[:6]] == "10 18 32.4 58.32 104.976 188.957".split()
    assert latencies[-1] == pytest.approx(10 * 1.8**32)
    assert sizes == [2**power for power in range(14)]


def test_counting_from_many_threads_loses_nothing() -> None:
    counter, histogram = Counter("/c", "l"), Histogram("/h", [1], "l")

    def count() -> None:
        for _ in range(2000):
            counter.increment("x")
            histogram.observe(2, "x")

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert list(counter.lines())[-1] == ':c{l="x"} 16000'
    assert list(histogram.lines())[-2:] == [':h_sum{l="x"} 32000', ':h_count{l="x"} 16000']


def test_the_page_lists_every_metric_by_name_and_is_what_prometheus_reads() -> None:
    metrics.REQUEST_COUNT.increment("page", "OK")
    metrics.REQUEST_LATENCY.observe(12.5, "page", "Predict", "GRPC")

    lines = metrics.page().splitlines()

    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert names == sorted(names)
    declared = re.findall(r'"(/tensorflow/[a-z/_]+)"', Path(metrics.__file__).read_text())
    assert sorted(name.replace("/", ":") for name in declared) == names
    assert [
        line for line in lines if not (line.startswith("# TYPE") or SAMPLE.fullmatch(line))
    ] == []


def test_names_that_callers_make_up_do_not_fill_the_page() -> None:
    for number in range(1000):
        metrics.count_request(f"made up {number}", "NOT_FOUND", known=False)
    metrics.count_request("x" * 100_000, "NOT_FOUND", known=False)
    metrics.count_request("served", "OK", known=True)

    lines = list(metrics.REQUEST_COUNT.lines())

    assert sum("made up" in line for line in lines) == 100
    assert f'request_count{{model_name="{metrics.OTHER}",status="NOT_FOUND"}} 901' in str(lines)
    assert 'model_name="served",status="OK"} 1' in str(lines)
    assert len(metrics.page()) < 100_000
