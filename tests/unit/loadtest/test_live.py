"""How a load goes while it runs, read from files of samples that grow."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from foundation.progress import Progress
from loadtest.results import live, samples
from loadtest.results.samples import Sample


def sample(end_s: float, latency_ms: float, code: str = "OK") -> Sample:
    return Sample(
        start_s=end_s - latency_ms / 1000,
        latency_ms=latency_ms,
        name="serving_default",
        code=code,
        version=1,
        details='odd, "words"',
        label="stable",
    )


@pytest.fixture
def writer_of() -> Iterator[Callable[[Path], samples.Writer]]:
    with contextlib.ExitStack() as stack:
        yield lambda path: stack.enter_context(contextlib.closing(samples.Writer(path)))


WriterOf = Callable[[Path], samples.Writer]


def write(writer: samples.Writer, *rows: Sample) -> None:
    for row in rows:
        writer.write(row)
    writer.flush()


def test_what_was_added_since_the_last_look_counts_once(
    tmp_path: Path, writer_of: WriterOf
) -> None:
    files = [tmp_path / f"worker-{number}.csv" for number in range(2)]
    tail = live.Tail(lambda: files)
    assert tail.look(5) is None
    writers = [writer_of(path) for path in files]
    assert tail.look(5) is None  # their head lines
    for second in range(10):
        for writer in writers:
            write(writer, *(sample(1000 + second + at / 10, 4 + at) for at in range(1, 11)))
        found = tail.look(5)
        assert found is not None
        assert found.requests == 20 * (second + 1)
        assert found.p50_ms == 9
        assert found.p99_ms == 14
    assert found.per_s == pytest.approx(20, rel=0.01)
    write(writers[0], sample(1010, 9, "UNAVAILABLE"))
    found = tail.look(5)
    assert found is not None
    assert (found.requests, found.failures) == (201, 1)


def test_the_window_forgets_what_was_before_it(tmp_path: Path, writer_of: WriterOf) -> None:
    path = tmp_path / "samples.csv"
    tail = live.Tail(lambda: [path])
    writer = writer_of(path)
    write(writer, *(sample(1000 + at / 100, 50) for at in range(1, 1001)))
    write(writer, *(sample(1010 + at / 10, 5) for at in range(1, 51)))
    found = tail.look(5)
    assert found is not None
    assert (found.p50_ms, found.p99_ms) == (5, 5)
    assert found.per_s == pytest.approx(10)
    assert found.requests == 1050


def test_half_a_line_is_read_when_it_is_whole(tmp_path: Path, writer_of: WriterOf) -> None:
    path = tmp_path / "samples.csv"
    write(writer_of(path), sample(1001, 5), sample(1002, 6))
    content = path.read_bytes()
    path.write_bytes(content[:-4])
    tail = live.Tail(lambda: [path])
    first = tail.look(5)
    path.write_bytes(content)
    second = tail.look(5)
    assert first is not None
    assert second is not None
    assert (first.requests, second.requests) == (1, 2)


def test_failures_alone_have_no_percentiles(tmp_path: Path, writer_of: WriterOf) -> None:
    path = tmp_path / "samples.csv"
    write(writer_of(path), *(sample(1000 + at, 5, "UNAVAILABLE") for at in range(3)))
    found = live.Tail(lambda: [path]).look(5)
    assert found is not None
    assert (found.per_s, found.p50_ms, found.failures) == (0, None, 3)
    assert live.texts("load", 3, 60, found)[0] == (
        "load: 3/60 s, 0 requests/s, p50 - ms, p99 - ms, 3 failures"
    )


def test_the_line_has_a_form_for_narrow_terminals() -> None:
    found = live.Lately(per_s=1234.4, p50_ms=4.12, p99_ms=123.4, requests=9, failures=1)
    long, middle, short = live.texts("load", 12.3, 60, found)
    assert long == "load: 12/60 s, 1,234 requests/s, p50 4.1 ms, p99 123 ms, 1 failure"
    assert middle == "12/60 s, 1,234/s, p50 4.1, p99 123 ms, 1 failed"
    assert len(short) < 40
    assert live.texts("load", 12.3, 0, None)[0] == "load: 12 s, no answer yet"
    assert live.texts("load", 0, 60, None)[0] == "load: starting"


def test_in_a_pipe_a_line_every_ten_seconds_speaks_of_these(
    tmp_path: Path, writer_of: WriterOf, capsys: pytest.CaptureFixture[str]
) -> None:
    path, now_s = tmp_path / "samples.csv", 0.0
    writer = writer_of(path)
    with Progress("load", clock=lambda: now_s) as line:
        shown = live.Shown(line, live.Tail(lambda: [path]), "load", 60)
        for second in range(30):
            now_s = float(second)
            # as many answers as seconds, each as many ms long
            rows = (sample(1000 + second + at / 100, second + 1) for at in range(1, second + 1))
            write(writer, *rows)
            shown._looked_s = float("-inf")  # as if a second had gone by
            shown(now_s)
    first, second_line = capsys.readouterr().err.splitlines()
    assert first == "load: 10/60 s, 6 requests/s, p50 8.0 ms, p99 11.0 ms, 0 failures"
    assert second_line.startswith("load: 20/60 s, 16 requests/s, p50 17.0 ms, p99 21.0 ms")


def test_a_look_costs_microseconds_a_request(tmp_path: Path, writer_of: WriterOf) -> None:
    path = tmp_path / "samples.csv"
    tail = live.Tail(lambda: [path])
    write(writer_of(path), *(sample(1000 + at / 5000, 5 + at % 7) for at in range(20_000)))
    begin = time.process_time()
    found = tail.look(5)
    assert found is not None
    assert found.requests == 20_000
    assert time.process_time() - begin < 1.0  # 50 us each; it took 6 on a busy machine
