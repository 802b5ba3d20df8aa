"""The open loop as a command, against a small real server in this process."""

from __future__ import annotations

import html
import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import trustme

from foundation.pages import numbers
from loadtest import run
from loadtest.results.recording import SENT, Recording
from loadtest.traffic import arrivals
from loadtest.traffic.arrivals import Plan
from serving.client.tests.model_server import ModelServer
from tests.integration.loadtest import commands
from tests.integration.loadtest.commands import Done, once, wait_for
from tfs_client import contract
from tfs_client.wire import serving_pb2 as pb

Load = Callable[..., Done]


@pytest.fixture
def load(server: ModelServer, pictures: Path, tmp_path: Path) -> Load:
    """Runs `loadtest.run` against the server with these flags."""

    def run_it(*flags: str) -> Done:
        where = ("--target", server.target, "--images", str(pictures))
        return commands.run(run.main, *where, *flags, folder=tmp_path)

    return run_it


def recorded(done: Done) -> Recording:
    return Recording.from_json(done.recording["recording"])


def due(done: Done) -> list[float]:
    """When each request was due, seconds since the begin."""
    begin_s = done.recording["recording"]["begin_s"]
    return [float(row["start_s"]) - begin_s for row in done.rows]


def planned(**plan: Any) -> list[float]:
    found: list[float] = arrivals.times(Plan(**plan)).tolist()
    return found


@pytest.fixture(scope="module")
def stairs(
    pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Done, ModelServer]]:
    """One load for several tests: up the stairs, from two processes, with a mix and a gate."""
    folder, server = tmp_path_factory.mktemp("stairs"), ModelServer()
    limits = {"p50_ms": 5000, "error_rate": 0.01, "requests_per_s": 20}
    (folder / "objectives.json").write_text(json.dumps(limits))
    done = commands.run(
        run.main,
        *("--target", server.target, "--images", str(pictures), "--workers", "2"),
        *("--rate", "100", "--shape", "step", "--duration-s", "2", "--seed", "5"),
        *("--label", "stable=3,canary=1", "--signature", "serving_default,predict_images"),
        *("--batch", "1,3", "--format", "as-is,jpeg", "--objectives", "objectives.json"),
        folder=folder,
    )
    yield done, server
    server.stop()


def test_every_arrival_of_the_plan_is_sent_once_by_one_of_the_workers(
    stairs: tuple[Done, ModelServer],
) -> None:
    done, server = stairs
    assert done.code == 0, done.told
    loop, *paths, _ = done.out.splitlines()
    assert loop.startswith("open loop: 100 requests/s (step, Poisson)")
    assert paths == ["build/loadtest.json", "build/loadtest.html"]
    assert "open loop: 100 requests/s" in done.told
    times = planned(rate_per_s=100, duration_s=2, shape="step", seed=5)
    assert len(server.asked("Predict")) == len(times) == done.figures["requests"]
    assert due(done) == pytest.approx(times, abs=2e-6)
    kept = done.recording
    assert kept["loop"] == done.figures["loop"] == "open"
    assert kept["versions"] == {"stable": 1, "canary": 2}
    assert kept["generator"]["workers"] == 2
    assert kept["machine"]["cores"]
    assert recorded(done).counts() == {"OK": len(times)}
    assert "Open loop: 100 requests/s (step, Poisson)" in done.page
    assert "from the intended start, ms" in done.page


def test_stairs_of_a_shape_are_shown_with_their_throughput(
    stairs: tuple[Done, ModelServer],
) -> None:
    page = stairs[0].page
    assert "Latency against throughput" in page
    for rate in (20.0, 40.0, 60.0, 80.0, 100.0):
        assert f"<td>{numbers.number(rate)}</td>" in page


def test_a_mix_reaches_the_server_as_it_is_weighed(stairs: tuple[Done, ModelServer]) -> None:
    done, server = stairs
    served = server.asked("Predict")
    labels = Counter(one.label for one in served)
    assert 0.1 < labels["canary"] / len(served) < 0.4
    kinds = Counter((name, one.rows) for one in served for name in one.inputs)
    inputs = (contract.INPUT_IMAGE_BYTES, contract.INPUT_IMAGES)
    assert set(kinds) == {(name, count) for name in inputs for count in (1, 3)}
    held = recorded(done).series
    assert {(one.label, one.version) for one, _ in held} == {("stable", 1), ("canary", 2)}


def gate_says(done: Done) -> str:
    """The verdict, which stands on stdout, on the page and in the figures."""
    verdict = done.out.splitlines()[-1]
    assert verdict[1:] in html.unescape(done.page)
    assert done.figures["objectives_met"] is (done.code == 0)
    return verdict


def test_a_gate_that_is_met_is_one_line_and_exit_code_0(stairs: tuple[Done, ModelServer]) -> None:
    done, _ = stairs
    assert done.code == 0, done.told
    assert gate_says(done).startswith("objectives met: p50 ")


def test_a_gate_gives_no_verdict_on_too_few_requests(load: Load, tmp_path: Path) -> None:
    (tmp_path / "objectives.json").write_text('{"p99_9_ms": 5000}')
    done = load("--rate", "60", "--duration-s", "0.3", "--objectives", "objectives.json")
    assert done.code == 1, done.told
    assert gate_says(done).startswith("no verdict: p99.9 stands on ")


def test_latency_counts_from_the_intended_start_and_all_places_taken_means_late_not_dropped(
    server: ModelServer, load: Load
) -> None:
    honest = server.usual("Predict")

    def slow(request: Any, context: Any) -> Any:
        time.sleep(0.05)
        return honest(request, context)

    server.handlers["Predict"] = slow
    # Two places and 0.05 s for each answer: 40 requests/s at most, and 120 are due.
    done = load("--rate", "120", "--duration-s", "0.8", "--in-flight", "2", "--timeout-s", "9")
    times = planned(rate_per_s=120, duration_s=0.8)
    found = done.figures
    assert found["requests"] == len(times) == len(server.asked("Predict")), done.told
    assert found["failures"] == 0
    assert found["held_back"] > len(times) / 2
    held = recorded(done)
    (sent,) = held.percentiles((50,), since=SENT)
    (intended,) = held.percentiles((100,))
    assert 50 <= sent.value_ms < 250
    assert intended.value_ms > 1000 * (len(times) * 0.05 / 2 - 0.8)
    assert max(float(row["late_ms"]) for row in done.rows) > 1000


def test_what_never_gets_a_place_is_a_failure_of_its_own(server: ModelServer, load: Load) -> None:
    def hang(request: Any, context: Any) -> Any:
        time.sleep(0.8)
        raise AssertionError("nobody waits for this")

    server.handlers["Predict"] = hang
    done = load("--rate", "60", "--duration-s", "0.8", "--in-flight", "4", "--timeout-s", "0.5")
    assert done.code == 1
    found = done.figures
    count = len(planned(rate_per_s=60, duration_s=0.8))
    assert found["requests"] == found["failures"] == count
    counts = recorded(done).counts()
    assert counts["NOT_SENT"] == found["not_sent"] > 20
    assert counts["DEADLINE_EXCEEDED"] >= 4
    assert "x NOT_SENT: all places in flight were taken until the end" in done.told


def test_a_server_that_dies_in_the_middle_costs_its_requests_and_misses_the_gate(
    server: ModelServer, load: Load, tmp_path: Path
) -> None:
    (tmp_path / "objectives.json").write_text('{"error_rate": 0.01, "p50_ms": 5000}')
    rate = ("--rate", "120", "--duration-s", "1.5", "--objectives", "objectives.json")
    with once(lambda: len(server.asked("Predict")) > 80, "requests", server.stop):
        done = load(*rate)
    assert done.code == 1
    found = done.figures
    assert found["requests"] == len(planned(rate_per_s=120, duration_s=1.5))
    assert found["requests"] - found["failures"] >= 60
    assert found["finished"] is True
    assert "x UNAVAILABLE" in done.told
    assert gate_says(done).startswith("objectives missed: errors ")


def test_ctrl_c_keeps_what_there_is_and_marks_it_as_partial(
    server: ModelServer, pictures: Path, tmp_path: Path
) -> None:
    where = ("--target", server.target, "--images", str(pictures))
    flags = ("--rate", "200", "--duration-s", "60")
    process = commands.start("loadtest.run", *where, *flags, folder=tmp_path)
    wait_for(lambda: len(server.asked("Predict")) > 60, "requests")
    process.send_signal(signal.SIGINT)
    out, talk = process.communicate(timeout=60)
    done = Done(code=process.returncode, out=out, told=talk, folder=tmp_path)
    assert done.code == 130, talk
    assert done.figures["requests"] >= 55
    assert done.figures["failures"] == 0
    assert done.figures["finished"] is False
    assert done.recording["partial"] == ["interrupted"]
    assert "Partial: interrupted" in done.page


def test_a_worker_that_is_killed_leaves_its_samples_and_the_others_go_on(
    server: ModelServer, load: Load
) -> None:
    def kill_one() -> None:
        workers = psutil.Process().children()
        (first,) = [one for one in workers if "loadtest.loops.worker" in one.cmdline()][:1]
        first.kill()

    # A worker writes down what it has once a second, and first 0.7 s after the begin.
    with once(lambda: len(server.asked("Predict")) > 200, "requests", kill_one):
        done = load("--rate", "120", "--duration-s", "2.4", "--workers", "2")
    assert done.code == 1
    assert "worker 0 ended with -9" in done.told or "worker 1 ended with -9" in done.told
    count, requests = len(planned(rate_per_s=120, duration_s=2.4)), done.figures["requests"]
    assert count / 2 + 30 < requests < count
    assert sum(recorded(done).counts().values()) == requests == len(done.rows)


def test_workers_end_when_their_parent_is_gone(
    server: ModelServer, pictures: Path, tmp_path: Path
) -> None:
    where = ("--target", server.target, "--images", str(pictures))
    flags = ("--rate", "200", "--duration-s", "60", "--workers", "2")
    process = commands.start("loadtest.run", *where, *flags, folder=tmp_path)
    wait_for(lambda: len(server.asked("Predict")) > 30, "requests")
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    process.kill()
    process.communicate()
    wait_for(lambda: not any(one.is_running() and alive(one) for one in workers), "end")


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def failing(server: ModelServer) -> None:
    """Answers rightly 20 times, then now and then not: half of the answers are right at least."""
    honest, calls = server.usual("Predict"), iter(range(10**6))
    empty = pb.PredictResponse(model_spec={"name": contract.MODEL_NAME})
    empty.model_spec.version.value = 1

    def predict(request: Any, context: Any) -> Any:
        answer, number = honest(request, context), next(calls)
        if number < 20 or number % 6 < 3:
            return answer
        if number % 6 == 3:
            answer.outputs[contract.OUTPUT_PROBABILITY].float_val[:] = [0.7]
            answer.outputs[contract.OUTPUT_PROBABILITY].ClearField("tensor_content")
            return answer
        if number % 6 == 4:
            return empty
        context.abort(grpc.StatusCode.INTERNAL, "a sixth")

    server.handlers["Predict"] = predict


def test_failures_are_told_with_their_own_words_and_a_gate_may_allow_a_share_of_them(
    server: ModelServer, load: Load, tmp_path: Path
) -> None:
    """An answer that changes, one that lacks the contract's outputs, and a refusal."""
    (tmp_path / "objectives.json").write_text('{"error_rate": 0.6}')
    failing(server)
    gate = ("--objectives", "objectives.json")
    done = load("--rate", "100", "--duration-s", "0.8", *gate)
    assert done.code == 0, done.told
    assert gate_says(done).startswith("objectives met: errors ")
    assert "x WRONG_ANSWER: version 1 says defective 0.7000" in done.told
    assert "x AnswerError: Expected probability, label" in done.told
    assert "x INTERNAL: " in done.told
    assert 0.2 < done.figures["failures"] / done.figures["requests"] < 0.5


KNOWN = "path,split,label,probability,predicted\n" + "".join(
    f"pictures/{at}.png,test,defective,0.1,defective\n" for at in range(5)
)
"""What the server says of the pictures, as a run's predictions.csv."""


def test_a_trace_is_replayed_when_it_says_with_tls_and_known_answers(
    pictures: Path, tmp_path: Path
) -> None:
    seconds = [0, 0, 0.1, 0.2, 0.2, 0.25, 0.3, 0.35, 0.4, 0.4, 0.5]
    trace = "".join(f"{10 + second}\n" for second in seconds)
    (tmp_path / "trace.csv").write_text(f"seconds\n{trace}")
    (tmp_path / "known.csv").write_text(KNOWN)
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(tmp_path / "roots.pem")
    pair = (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())
    server = ModelServer(host="localhost", credentials=grpc.ssl_server_credentials([pair]))
    where = ("--target", server.target, "--images", str(pictures), "--trace", "trace.csv")
    known = ("--tls-roots", "roots.pem", "--answers", "known.csv")
    try:
        done = commands.run(run.main, *where, *known, folder=tmp_path)
        assert done.code == 0, done.told
        assert due(done) == pytest.approx(seconds, abs=2e-6)
        plain = commands.run(run.main, *where, "--timeout-s", "0.5", folder=tmp_path)
        assert plain.code == 2
        (line,) = plain.told.splitlines()
        assert line.startswith("python -m loadtest.run: error: ")
    finally:
        server.stop()


def test_an_answer_other_than_the_known_one_is_a_failure(load: Load, tmp_path: Path) -> None:
    known = KNOWN.replace("2.png,test,defective,0.1", "2.png,test,x,0.9")
    (tmp_path / "known.csv").write_text(known)
    done = load("--rate", "80", "--duration-s", "0.4", "--answers", "known.csv")
    assert done.code == 1
    assert "of pictures/2.png|as-is|as-is, where defective 0.9000 is right" in done.told


def test_a_generator_that_cannot_keep_up_says_so_everywhere(load: Load) -> None:
    # So many places that no request waits for one: what is late is the generator's doing. A short
    # wait for answers, because a lateness counts from a tenth of the latency on: the queue in the
    # server, which 2,000 requests at once make seconds long, must not count as latency here.
    many = ("--rate", "20000", "--duration-s", "0.1", "--in-flight", "5000", "--timeout-s", "0.3")
    done = load(*many)
    assert "limited by the generator: " in done.told
    assert done.figures["generator_limited"] is True
    assert done.recording["generator"]["limited"].startswith("limited by the generator: ")
    assert "Limited by the generator: " in done.page
