"""The open loop as a command, against a small real server in this process."""

from __future__ import annotations

import csv
import html
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
import trustme
from PIL import Image

from loadtest import run
from loadtest.results.recording import SENT, Recording
from loadtest.traffic import arrivals
from loadtest.traffic.arrivals import Plan
from serving.client.tests.model_server import ModelServer
from tfs_client import contract
from tfs_client.wire import serving_pb2 as pb

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def server():
    server = ModelServer()
    yield server
    server.stop()


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for at in range(5):
        pixels = random.integers(0, 256, (30, 40, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{at}.png")
    return folder


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    """Where the command is run, and so where its build/ goes."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(server, pictures, folder, *arguments) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "loadtest.run", "--target", server.target]
    return subprocess.Popen(
        [*command, "--images", str(pictures), *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def figures(folder) -> dict[str, object]:
    content = json.loads((folder / "build" / "loadtest.json").read_text())
    return {row["name"]: row["value"] for row in content["results"]}


def result(folder):
    return json.loads((folder / "build" / "loadtest-recording.json").read_text())


def rows(folder) -> list[dict[str, str]]:
    with (folder / "build" / "loadtest-samples.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def wait_for(condition, what: str, deadline_s: float = 30.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"no {what} within {deadline_s} s"
        time.sleep(0.02)


def every_fifth_fails(server, after_s=0.0):
    honest, calls = server._Predict, iter(range(10**6))

    def predict(request, context):
        time.sleep(after_s)
        if next(calls) % 5 == 0:
            context.abort(grpc.StatusCode.INTERNAL, "a fifth")
        return honest(request, context)

    return predict


def test_every_arrival_of_the_plan_is_sent_once_by_whichever_worker(server, pictures, in_folder):
    arguments = ["--rate", "60", "--duration-s", "3", "--shape", "spike", "--workers", "2"]
    process = start(server, pictures, in_folder, *arguments, "--seed", "5")
    out, talk = process.communicate(timeout=60)
    assert process.returncode == 0, talk
    loop, *paths = out.splitlines()
    assert loop.startswith("open loop: 60 requests/s (spike, Poisson)")
    assert paths == ["build/loadtest.json", "build/loadtest.html"]
    assert "open loop: 60 requests/s" in talk
    planned = arrivals.times(Plan(rate_per_s=60, duration_s=3, shape="spike", seed=5))
    assert len(server.asked("Predict")) == len(planned) == figures(in_folder)["requests"]
    kept = result(in_folder)
    begin_s = kept["recording"]["begin_s"]
    due = [float(row["start_s"]) - begin_s for row in rows(in_folder)]
    assert due == pytest.approx(planned.tolist(), abs=2e-6)
    assert kept["loop"] == figures(in_folder)["loop"] == "open"
    assert kept["versions"] == {"stable": 1}
    assert kept["generator"]["workers"] == 2
    assert kept["machine"]["cores"]
    held = Recording.from_json(kept["recording"])
    assert held.counts() == {"OK": len(planned)}
    page = (in_folder / "build" / "loadtest.html").read_text()
    assert "Open loop: 60 requests/s (spike, Poisson)" in page
    assert "from the intended start, ms" in page


def test_a_mix_reaches_the_server_as_it_is_weighed(server, pictures, in_folder):
    process = start(
        *(server, pictures, in_folder, "--rate", "100", "--duration-s", "2"),
        *("--label", "stable=3,canary=1", "--signature", "serving_default,predict_images"),
        *("--batch", "1,3", "--format", "as-is,jpeg"),
    )
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 0, talk
    served = server.asked("Predict")
    labels = Counter(one.model_spec.version_label for one in served)
    assert 0.1 < labels["canary"] / len(served) < 0.4
    kinds = Counter(
        (name, one.inputs[name].tensor_shape.dim[0].size) for one in served for name in one.inputs
    )
    inputs = (contract.INPUT_IMAGE_BYTES, contract.INPUT_IMAGES)
    assert set(kinds) == {(name, count) for name in inputs for count in (1, 3)}
    held = Recording.from_json(result(in_folder)["recording"])
    assert {(one.label, one.version) for one, _ in held.series} == {("stable", 1), ("canary", 2)}


def test_latency_counts_from_the_intended_start_and_all_places_taken_means_late_not_dropped(
    server, pictures, in_folder
):
    honest = server._Predict

    def slow(request, context):
        time.sleep(0.1)
        return honest(request, context)

    server.answers["Predict"] = slow
    # Two places and 0.1 s for each answer: 20 requests/s at most, and 60 are due.
    arguments = ["--rate", "60", "--duration-s", "2", "--in-flight", "2", "--timeout-s", "9"]
    _, talk = start(server, pictures, in_folder, *arguments).communicate(timeout=90)
    planned = len(arrivals.times(Plan(rate_per_s=60, duration_s=2)))
    found = figures(in_folder)
    assert found["requests"] == planned == len(server.asked("Predict")), talk
    assert found["failures"] == 0
    assert found["held_back"] > planned / 2
    held = Recording.from_json(result(in_folder)["recording"])
    (sent,) = held.percentiles((50,), since=SENT)
    (intended,) = held.percentiles((100,))
    assert 100 <= sent.value_ms < 250
    assert intended.value_ms > 1000 * (planned * 0.1 / 2 - 2)
    assert max(float(row["late_ms"]) for row in rows(in_folder)) > 1000


def test_what_never_gets_a_place_is_a_failure_of_its_own(server, pictures, in_folder):
    def hang(request, context):
        time.sleep(1.5)
        raise AssertionError("nobody waits for this")

    server.answers["Predict"] = hang
    arguments = ["--rate", "50", "--duration-s", "1", "--in-flight", "4", "--timeout-s", "1"]
    process = start(server, pictures, in_folder, *arguments)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 1
    planned = len(arrivals.times(Plan(rate_per_s=50, duration_s=1)))
    found = figures(in_folder)
    assert found["requests"] == found["failures"] == planned
    counts = Recording.from_json(result(in_folder)["recording"]).counts()
    assert counts["NOT_SENT"] == found["not_sent"] > 20
    assert counts["DEADLINE_EXCEEDED"] >= 4
    assert "x NOT_SENT: all places in flight were taken until the end" in talk


def test_a_server_that_dies_in_the_middle_costs_its_requests_and_nothing_else(
    server, pictures, in_folder
):
    process = start(server, pictures, in_folder, "--rate", "60", "--duration-s", "4")
    wait_for(lambda: len(server.asked("Predict")) > 60, "requests")
    server.stop()
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 1
    found = figures(in_folder)
    assert found["requests"] == len(arrivals.times(Plan(rate_per_s=60, duration_s=4)))
    assert found["requests"] - found["failures"] >= 60
    assert found["finished"] is True
    assert "x UNAVAILABLE" in talk


@pytest.mark.parametrize("loop", [["--rate", "60"], ["--users", "2"]], ids=["open", "closed"])
def test_ctrl_c_keeps_what_there_is_and_marks_it_as_partial(server, pictures, in_folder, loop):
    process = start(server, pictures, in_folder, *loop, "--duration-s", "60")
    wait_for(lambda: len(server.asked("Predict")) > 60, "requests")
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate(timeout=40)
    assert process.returncode == 130, talk
    found = figures(in_folder)
    assert found["requests"] >= 55
    assert found["failures"] == 0
    assert found["finished"] is False
    assert result(in_folder)["partial"] == ["interrupted"]
    assert "Partial: interrupted" in (in_folder / "build" / "loadtest.html").read_text()


def test_a_worker_that_is_killed_leaves_its_samples_and_the_others_go_on(
    server, pictures, in_folder
):
    arguments = ["--rate", "80", "--duration-s", "5", "--workers", "2"]
    process = start(server, pictures, in_folder, *arguments)
    wait_for(lambda: len(server.asked("Predict")) > 160, "requests")
    psutil.Process(process.pid).children()[0].kill()
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "worker 0 ended with -9" in talk
    planned = len(arrivals.times(Plan(rate_per_s=80, duration_s=5)))
    requests = figures(in_folder)["requests"]
    assert planned / 2 + 30 < requests < planned
    counts = Recording.from_json(result(in_folder)["recording"]).counts()
    assert sum(counts.values()) == requests == len(rows(in_folder))


def test_workers_end_when_their_parent_is_gone(server, pictures, in_folder):
    arguments = ["--rate", "50", "--duration-s", "60", "--workers", "2"]
    process = start(server, pictures, in_folder, *arguments)
    wait_for(lambda: len(server.asked("Predict")) > 30, "requests")
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    process.kill()
    process.communicate()
    wait_for(lambda: not any(one.is_running() and alive(one) for one in workers), "end", 15)


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("loop", [["--rate", "50"], ["--users", "2"]], ids=["open", "closed"])
def test_an_answer_that_changes_is_a_failure_of_its_own(server, pictures, in_folder, loop):
    honest = server._Predict

    def fickle(request, context):
        answer = honest(request, context)
        if len(server.requests) > 40:
            answer.outputs[contract.OUTPUT_PROBABILITY].float_val[:] = [0.7]
            answer.outputs[contract.OUTPUT_PROBABILITY].ClearField("tensor_content")
        return answer

    server.answers["Predict"] = fickle
    process = start(server, pictures, in_folder, *loop, "--duration-s", "2")
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "x WRONG_ANSWER: version 1 says defective 0.7000" in talk
    assert 0 < figures(in_folder)["failures"] < figures(in_folder)["requests"]


def test_a_trace_is_replayed_when_it_says(server, pictures, in_folder):
    (in_folder / "trace.csv").write_text("seconds\n10\n10\n10.5\n11\n")
    process = start(server, pictures, in_folder, "--trace", "trace.csv")
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 0, talk
    begin_s = result(in_folder)["recording"]["begin_s"]
    due = [float(row["start_s"]) - begin_s for row in rows(in_folder)]
    assert due == pytest.approx([0, 0, 0.5, 1], abs=2e-6)


def test_a_generator_that_cannot_keep_up_says_so_everywhere(server, pictures, in_folder):
    arguments = ["--rate", "20000", "--duration-s", "0.5", "--timeout-s", "60"]
    process = start(server, pictures, in_folder, *arguments)
    _, talk = process.communicate(timeout=120)
    assert "limited by the generator: " in talk
    assert figures(in_folder)["generator_limited"] is True
    assert result(in_folder)["generator"]["limited"].startswith("limited by the generator: ")
    page = (in_folder / "build" / "loadtest.html").read_text()
    assert "Limited by the generator: " in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rate", "0"], "Expected --rate above 0"),
        (["--rate", "-2"], "Expected --rate above 0"),
        (["--rate", "5", "--users", "2"], "Received: both; leave one out"),
        (["--shape", "spike"], "Expected --rate with --shape"),
        (["--rate", "5", "--shape", "wave"], "Expected a shape of steady"),
        (["--rate", "5", "--workers", "0"], "Expected --workers above 0"),
        (["--rate", "5", "--in-flight", "0"], "Expected --in-flight above 0"),
        (["--trace", "missing.csv"], "Expected a CSV file of seconds as --trace"),
        (["--rate", "5", "--label", "nope"], "Unrecognized servable version label: nope"),
        (["--rate", "5", "--label", "stable=x"], "Expected --label as NAME"),
        (["--rate", "5", "--signature", "classify"], "Expected --signature of"),
        (["--rate", "5", "--images", "empty"], "Received: none in empty"),
        (["--rate", "5", "--answers", "missing.csv"], "Expected a CSV file as --answers"),
        (["--rate", "5", "--target", "127.0.0.1:1"], "No server answered GetModelMetadata"),
        (["--rate", "5", "--timeout-s", "1", "--tls"], "No server answered"),
        (["--rate", "5", "--tls-roots", "missing.pem"], "missing.pem"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_line_and_exit_code_2_and_writes_nothing(
    server, pictures, in_folder, capsys, arguments, words
):
    (in_folder / "empty").mkdir()
    assert run.main(["--target", server.target, "--images", str(pictures), *arguments]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("loadtest: error: ")
    assert words in line
    assert captured.out == ""
    assert not (in_folder / "build").exists()


@pytest.mark.parametrize("loop", [["--rate", "30"], ["--users", "2"]], ids=["open", "closed"])
def test_a_server_with_tls_is_loaded_by_who_knows_its_authority_and_refused_in_one_line_else(
    pictures, in_folder, capsys, loop
):
    import grpc

    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(in_folder / "roots.pem")
    pair = (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())
    server = ModelServer(host="localhost", credentials=grpc.ssl_server_credentials([pair]))
    try:
        arguments = [*loop, "--duration-s", "1", "--tls-roots", "roots.pem"]
        process = start(server, pictures, in_folder, *arguments)
        _, talk = process.communicate(timeout=60)
        assert process.returncode == 0, talk
        assert figures(in_folder)["requests"] > 10
        plain = ["--target", server.target, "--images", str(pictures), "--timeout-s", "2", *loop]
        assert run.main(plain) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("loadtest: error: ")
    finally:
        server.stop()


def test_known_answers_of_a_run_are_held_against_the_server(server, pictures, in_folder):
    lines = [f"pictures/{at}.png,test,defective,0.1,defective" for at in range(5)]
    known = in_folder / "known.csv"
    known.write_text("\n".join(["path,split,label,probability,predicted", *lines]) + "\n")
    arguments = ["--rate", "40", "--duration-s", "1", "--answers", "known.csv"]
    process = start(server, pictures, in_folder, *arguments)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 0, talk
    known.write_text(known.read_text().replace("2.png,test,defective,0.1", "2.png,test,x,0.9"))
    process = start(server, pictures, in_folder, *arguments)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "of pictures/2.png|as-is|as-is, where defective 0.9000 is right" in talk


def test_an_answer_without_the_contracts_outputs_is_a_failure(server, pictures, in_folder):
    empty = pb.PredictResponse(model_spec={"name": contract.MODEL_NAME})
    empty.model_spec.version.value = 1
    server.answers["Predict"] = lambda request, context: empty
    process = start(server, pictures, in_folder, "--rate", "40", "--duration-s", "1")
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "x AnswerError: Expected probability, label" in talk


@pytest.mark.parametrize(
    ("limits", "code", "words"),
    [
        ({"p50_ms": 5000, "error_rate": 0.01, "requests_per_s": 20}, 0, "objectives met: p50 "),
        ({"error_rate": 0.01, "p50_ms": 20}, 1, "objectives missed: errors "),
        ({"p99_9_ms": 5000}, 1, "no verdict: p99.9 stands on "),
    ],
    ids=["met", "missed", "too short"],
)
def test_a_gate_is_one_line_and_an_exit_code(server, pictures, in_folder, limits, code, words):
    if code == 1 and "missed" in words:
        server.answers["Predict"] = every_fifth_fails(server, after_s=0.1)
    (in_folder / "objectives.json").write_text(json.dumps(limits))
    gate = ("--objectives", "objectives.json")
    process = start(server, pictures, in_folder, "--rate", "60", "--duration-s", "2", *gate)
    out, talk = process.communicate(timeout=60)
    assert process.returncode == code, talk
    assert out.splitlines()[-1].startswith(words)
    page = html.unescape((in_folder / "build/loadtest.html").read_text())
    assert out.splitlines()[-1][1:] in page
    assert figures(in_folder)["objectives_met"] is (code == 0)


def test_an_allowed_share_of_failures_passes_the_gate_but_not_the_plain_run(
    server, pictures, in_folder
):
    (in_folder / "objectives.json").write_text('{"error_rate": 0.5}')
    server.answers["Predict"] = every_fifth_fails(server)
    plain = ("--rate", "50", "--duration-s", "2")
    for flags, code in ((plain, 1), ((*plain, "--objectives", "objectives.json"), 0)):
        process = start(server, pictures, in_folder, *flags)
        _, talk = process.communicate(timeout=60)
        assert process.returncode == code, talk
        assert 0.1 < figures(in_folder)["failures"] / figures(in_folder)["requests"] < 0.3


def test_stairs_of_a_shape_are_shown_with_their_throughput(server, pictures, in_folder):
    process = start(
        *(server, pictures, in_folder),
        *("--rate", "50", "--shape", "step", "--duration-s", "5"),
    )
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 0, talk
    page = (in_folder / "build/loadtest.html").read_text()
    assert "Latency against throughput" in page
    assert [f"<td>{rate}</td>" in page for rate in (10, 20, 30, 40, 50)] == [True] * 5


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--at", "1 true"], "Expected --at"),
        (["--at", "5:true"], "Expected --at within the load's 2 s"),
        (["--at", "1:no-such-command"], "Received: 'no-such-command'"),
        (["--metrics", "nowhere"], "Expected host:port of a server's REST port"),
        (["--metrics", "127.0.0.1:1"], "Expected a metrics page at --metrics 127.0.0.1:1"),
        (["--objectives", "none.json"], "No such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_watched_done_or_judged_is_said_before_the_load(
    server, pictures, in_folder, capsys, flags, words
):
    plain = ["--target", server.target, "--images", str(pictures), "--rate", "9"]
    assert run.main([*plain, "--duration-s", "2", *flags]) == 2
    assert words in capsys.readouterr().err
    assert not (in_folder / "build").exists() or not list((in_folder / "build").iterdir())
    assert not [call for call, _ in server.requests if call == "Predict"]
