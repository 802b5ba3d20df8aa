"""The callers of the benchmark, against small real servers, and what their rounds come to."""

from __future__ import annotations

import http.server
import json
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.bench.page import Page
from tests.bench.server import contest, load, payloads, report, servers, verdict
from tests.bench.server.contest import FILES, PIXELS, InProcess, Measured
from tests.bench.server.soak import Memory
from tests.bench.server.starts import Start
from tests.bench.verdict import Verdict
from tests.house.pages import plots, whole
from tfs_client import contract
from tfs_client.wire import serving_pb2 as pb, tensors


def ask(callers, requests, check, count=4, seconds=0.3):
    return load.run(callers, requests, check, count=count, seconds=seconds, server_cpu_s=lambda: 0)


def fine(index: int, data: bytes) -> str:
    return ""


@pytest.fixture(scope="module")
def echo_address(tmp_path_factory):
    server, address = servers.echo(tmp_path_factory.mktemp("echo"))
    with server:
        yield address


class _Upper(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).upper()
        self.send_response(500 if body == b"BAD" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def http_address():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Upper)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address
    server.shutdown()
    server.server_close()


def test_grpc_callers_count_right_answers_and_their_time(echo_address):
    seen = []

    def check(index: int, data: bytes) -> str:
        seen.append((index, len(data)))
        return ""

    taken = ask(load.GrpcCallers(echo_address, "/Echo/17"), [b"a", b"b" * 9], check)
    assert taken.errors == 0
    assert 10 < len(taken.latencies_s) <= taken.answered == len(seen)
    assert {index for index, _ in seen} == {0, 1}
    assert {length for _, length in seen} == {17}
    assert taken.per_s == pytest.approx(len(taken.latencies_s) / taken.seconds)
    assert 0 < taken.percentile_ms(50) <= taken.percentile_ms(99) < 1000
    # each of the callers has one request under way, no more
    assert taken.latencies_s.sum() <= 4 * taken.seconds * 1.2
    assert taken.client_cpu_s > 0


def test_a_wrong_answer_is_an_error_and_no_throughput(echo_address):
    check = payloads.LengthCheck(3)
    taken = ask(load.GrpcCallers(echo_address, "/Echo/4"), [b"a"], check)
    assert taken.errors > 0
    assert taken.first_error == "4 bytes"
    assert taken.answered == len(taken.latencies_s) == 0


def test_a_refused_call_is_an_error_with_its_code():
    taken = ask(load.GrpcCallers("127.0.0.1:1", "/Echo/4"), [b"a"], fine)
    assert taken.errors > 0
    assert taken.first_error.startswith("UNAVAILABLE")


def test_http_callers_keep_their_connections_and_get_their_own_answers(http_address):
    callers = load.HttpCallers(http_address)
    bodies = [b"one", b"two" * 50_000]
    requests = [callers.request("/x", "text/plain", body) for body in bodies]

    def check(index: int, data: bytes) -> str:
        return "" if data == bodies[index].upper() else "another caller's answer"

    taken = ask(callers, requests, check)
    assert taken.errors == 0, taken.first_error
    assert len(taken.latencies_s) > 10


def test_an_http_error_is_an_error(http_address):
    callers = load.HttpCallers(http_address)
    taken = ask(callers, [callers.request("/x", "text/plain", b"bad")], fine)
    assert taken.errors > 0
    assert taken.first_error == "ValueError: HTTP 500: b'BAD'"
    assert taken.answered == 0


def test_nobody_listening_is_an_error_for_each_caller():
    taken = ask(load.HttpCallers(("127.0.0.1", 1)), [b"x"], fine)
    assert taken.errors == 4
    assert taken.first_error.startswith("ConnectionRefusedError")


def predict_response(probability: float, label: str) -> bytes:
    response = pb.PredictResponse()
    scores = [[1 - probability, probability]]
    values = ([probability], [label], [False], [True], [["bad", "good"]], scores)
    for name, value in zip(contract.PREDICT_OUTPUTS, values, strict=True):
        if name in (contract.OUTPUT_PROBABILITY, contract.OUTPUT_SCORES):
            value = np.array(value, np.float32)
        response.outputs[name].CopyFrom(tensors.to_proto(value))
    return response.SerializeToString()


def test_answers_are_compared_with_those_computed_in_process():
    expected = payloads.Expected([0.25, 0.5], ["good", "bad"])
    right = predict_response(0.25, "good")
    check = payloads.GrpcCheck(expected)
    assert check(0, right) == ""
    assert "image 1" in check(1, right)
    assert "expected 0.250000 good, received 0.260000 good" in check(
        0, predict_response(0.26, "good") + b""
    )
    assert "received 0.250000 evil" in payloads.GrpcCheck(expected)(
        0, predict_response(0.25, "evil")
    )
    # the same length as a right answer, and wrong: found among the answers that are parsed
    check = payloads.GrpcCheck(expected)
    wrong = predict_response(0.9, "good")
    check(0, right)
    found = [check(0, wrong) for _ in range(payloads.CHECKED_EVERY)]
    assert sum(map(bool, found)) == 1


@pytest.mark.parametrize("name", payloads.HTTP)
def test_json_answers_are_compared_too(name):
    expected = payloads.Expected([0.25], ["good"])
    row = {"probability": 0.25, "label": "good", "valid": True}
    answer = {
        "predictions": [row],
        "outputs": [{"name": key, "data": [value]} for key, value in row.items()],
    }
    way = payloads.HTTP[name]([b"file"], expected)
    assert way.check(0, json.dumps(answer).encode()) == ""
    wrong = json.dumps(answer).replace("0.25", "0.35").encode()
    assert "received 0.35" in payloads.HTTP[name]([b"file"], expected).check(0, wrong)


def rounds(per_s: list[float], p50_ms: float = 10, p99_ms: float = 20) -> list[load.Load]:
    """Rounds of one second with so many answers: most take p50, a few p99."""
    made = []
    for rate in per_s:
        latencies = np.full(int(rate), p50_ms / 1000)
        latencies[: int(rate) // 20] = p99_ms / 1000
        made.append(
            load.Load(
                seconds=1.0,
                latencies_s=latencies,
                answered=int(rate),
                errors=0,
                first_error="",
                client_cpu_s=rate / 10_000,
                server_cpu_s=rate / 1_000,
            )
        )
    return made


def measured() -> Measured:
    found = Measured()
    for signature, scale in ((FILES, 1), (PIXELS, 4)):
        for count in contest.CALLERS:
            found.loads[f"{signature}.batching", count] = rounds([500 * scale, 250 * scale])
            found.loads[f"{signature}.unbatched", count] = rounds([300 * scale, 150 * scale])
            found.loads[f"{signature}.echo", count] = rounds([6000, 3000])
        for threads, rate in ((1, 500), (2, 1000), (4, 900)):
            halves = (rate * scale, rate * scale / 2)
            found.in_process[signature, threads] = [InProcess(r, 0.001) for r in halves]
    for count in (8, 32):
        found.loads[f"{FILES}.rest", count] = rounds([400, 200])
        for name, rate in (("fastapi_b64", 200), ("fastapi_bytes", 250), ("mlserver", 100)):
            found.loads[f"{FILES}.{name}", count] = rounds([rate, rate / 2], p99_ms=40)
    found.pillow_per_s = [900.0]
    return found


def figures(found: Measured, quick: bool = False) -> dict[str, tuple[object, bool | None]]:
    made = Verdict("bench", "test", quick=quick)
    verdict.add_load(made, found)
    return {row.name: (row.value, row.holds) for row in made.results}


def test_ratios_are_taken_within_a_round():
    found = figures(measured())
    # the machine was half as fast in the second round, which no ratio shows
    assert found["predict_images.batching.32_callers.of_in_process"] == (0.5, None)
    # 2,000 of 1 / (1 / 6,000 + 1 / 4,000)
    attained = found["predict_images.batching.32_callers.of_attainable"]
    assert attained == (pytest.approx(5 / 6), True)
    assert found["predict_images.in_process.threads"][0] == 2
    assert found["predict_images.batching.32_callers.per_s"][0] == 1500
    assert found["serving_default.batching.32_callers.client_cpu_ms"][0] == pytest.approx(0.1)
    assert found["serving_default.batching.32_callers.server_cpu_ms"][0] == pytest.approx(1.0)
    assert found["best_for_files.32_callers"][0] == "serving_default.batching"
    assert found["best_for_files.32_callers.per_s_over_fastapi_bytes"] == (2.0, True)
    assert found["best_for_files.8_callers.p99_over_mlserver"] == (0.5, True)
    assert found["serving_default.rest.32_callers.per_s_over_fastapi_b64"] == (2.0, None)
    assert all(holds is not False for _, holds in found.values())


def failing(found: Measured) -> set[str]:
    return {name for name, (_, holds) in figures(found).items() if holds is False}


def test_each_bar_fails_by_itself():
    slow = measured()
    slow.loads[f"{PIXELS}.batching", 32] = rounds([1600, 800])
    assert failing(slow) == {"predict_images.batching.32_callers.of_attainable"}
    ragged = measured()
    ragged.loads[f"{FILES}.unbatched", 32] = rounds([300, 150], p99_ms=41)
    assert failing(ragged) == {"serving_default.unbatched.32_callers.p99_over_p50"}
    behind = measured()
    behind.loads[f"{FILES}.mlserver", 8] = rounds([501, 251], p99_ms=40)
    assert failing(behind) == {"best_for_files.8_callers.per_s_over_mlserver"}
    late = measured()
    late.loads[f"{FILES}.fastapi_bytes", 32] = rounds([250, 125], p99_ms=19)
    assert failing(late) == {"best_for_files.32_callers.p99_over_fastapi_bytes"}
    wrong = measured()
    wrong.errors = 1
    assert failing(wrong) == {"errors"}
    alone = measured()
    alone.absent["fastapi"] = "no network"
    assert failing(alone) == {"fastapi.had"}


def test_a_quick_look_judges_errors_only():
    found = measured()
    found.loads[f"{PIXELS}.batching", 32] = rounds([16, 8])
    found.errors = 2
    rows = figures(found, quick=True)
    assert {name for name, (_, holds) in rows.items() if holds is not None} == {"errors"}
    assert rows["errors"] == (2, False)


@pytest.mark.parametrize(("last_mb", "holds"), [(524, True), (526, False)])
def test_memory_may_grow_by_a_twentieth(last_mb, holds):
    made = Verdict("bench", "test")
    points = [Memory(0, 400), Memory(9_000, 450), Memory(11_000, 500), Memory(101_000, last_mb)]
    verdict.add_soak(made, points, 10_000, 100_000)
    assert made.hold is holds
    assert made.results[-1].value == last_mb / 500


def test_a_start_is_judged_by_what_is_not_tensorflows_import():
    made = Verdict("bench", "test")
    starts = [Start(5.0, 3.9), Start(9.0, 7.4), Start(6.0, 4.8)]
    verdict.add_starts(made, starts)
    own = {row.name: row for row in made.results}["start.own_s"]
    assert own.value == pytest.approx(1.2)
    assert own.holds
    verdict.add_starts(made, [Start(5.0, 3.4)])
    assert not made.hold


def test_samples_and_rounds_can_be_read_again(tmp_path: Path):
    found = measured()
    contest.write_latencies(found, tmp_path / "latencies.npz")
    contest.write_rounds(found, tmp_path / "rounds.jsonl")
    with np.load(tmp_path / "latencies.npz") as arrays:
        assert len(arrays["predict_images.batching.32_callers.round_1"]) == 1000
    lines = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    assert len(lines) == sum(len(one) for one in found.loads.values())
    (line,) = (one for one in lines if one["target"] == f"{PIXELS}.echo" and one["answers"] == 3000
               and (one["callers"], one["round"]) == (8, 1))  # fmt: skip
    assert line["server_cpu_s"] == pytest.approx(3.0)


@pytest.mark.slow
def test_the_page_shows_bars_plots_and_every_measurement(tmp_path: Path) -> None:
    found = report.Found(
        starts=[Start(5.0, 3.9)],
        measured=measured(),
        memory=[Memory(0, 400), Memory(1000, 410)],
    )
    made = Verdict("bench", "python -m tests.bench server")
    verdict.add_load(made, found.measured)
    verdict.add_starts(made, found.starts)
    page = Page("The local server, measured", "On made-up samples.", report.sections(found))
    page.absent["mlserver"] = "no network"
    page.write(tmp_path / "page.html", made)
    text = whole(tmp_path / "page.html")
    assert plots(text) == 4
    assert "Every bar holds, in this run." in text
    assert "Not measured: mlserver, no network" in text
    rows = [row for row in text.split("<tr>") if '<td class="name">' in row]
    # batching, unbatched and echo for both signatures; four ways over HTTP with 8 and 32 callers
    assert len(rows) == 6 * len(contest.CALLERS) + 4 * 2
    assert "local server, gRPC, batching" in rows[0]
    assert "375" in rows[0]  # the median of 500 and 250 answers a second
    assert "<td>5.00</td><td>3.90</td><td>1.10</td>" in text
