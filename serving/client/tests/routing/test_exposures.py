"""What the router tells of its exposures, and the log that threads and processes share."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys

import pytest

from tfs_client.background import jsonl
from tfs_client.errors import RequestError
from tfs_client.routing.router import Exposure, ExposureLog, Router

from .dealing import EXPOSURE, run, written


def test_an_exposure_is_handed_on():
    got: list[Exposure] = []
    Router({"stable": 1}, experiment="e", on_exposure=got.append).expose(EXPOSURE)
    Router({"stable": 1}, experiment="e").expose(EXPOSURE)
    assert got == [EXPOSURE]


def test_a_router_with_a_file_hands_exposures_on_too(deck):
    got: list[Exposure] = []
    Router.from_file(deck.path, on_exposure=got.append).expose(EXPOSURE)
    assert got == [EXPOSURE]


def test_a_failing_callback_is_told_once_a_second_with_the_number_kept_silent(caplog, clock):
    def fail(exposure):
        raise KeyError("broken")

    router = Router({"stable": 1}, experiment="e", on_exposure=fail, secret=bytes(16))
    for _ in range(5):
        router.expose(EXPOSURE)
    clock.now_s += 0.99
    router.expose(EXPOSURE)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.exc_info[0] is KeyError
    for _ in range(2):
        clock.now_s += 1
        router.expose(EXPOSURE)
    assert [record.args[0] for record in caplog.records] == [0, 5, 0]


def test_a_line_holds_the_fields_in_their_order(log, tmp_path):
    log(EXPOSURE)
    log(dataclasses.replace(EXPOSURE, label="gr\n", needs_review=True, error="NotFoundError"))
    first, second = (tmp_path / "exposures.jsonl").read_text().splitlines()
    assert first == (
        '{"experiment":"bigger net","unit":"d262f1ae84e514cc","label":"canary",'
        '"answered_by":"image_classifier/labels/canary","model":"image_classifier","version":3,'
        '"request_id":"r-1","time_s":1767225600.5,"latency_s":0.25,"error":"","needs_review":null,'
        '"predicted":"defective","probability":0.75}'
    )
    assert Exposure(**json.loads(second)).label == "gr\n"


def test_a_line_is_one_write(log, monkeypatch):
    writes = []
    monkeypatch.setattr(jsonl.os, "write", lambda fd, line: writes.append(line) or len(line))
    log(EXPOSURE)
    assert [line[-1:] for line in writes] == [b"\n"]


@pytest.mark.parametrize("wrong", [math.nan, math.inf, object(), b"1"])
def test_what_json_has_not_is_refused_and_nothing_is_written(log, tmp_path, wrong):
    with pytest.raises(RequestError, match="Expected values that JSON has"):
        log(dataclasses.replace(EXPOSURE, time_s=wrong))
    assert (tmp_path / "exposures.jsonl").read_bytes() == b""


def test_a_log_that_cannot_be_written_is_refused_at_once(tmp_path):
    with pytest.raises(RequestError, match=r"Expected a file .*No such file.*; make its folder"):
        ExposureLog(tmp_path / "nowhere" / "exposures.jsonl")
    with pytest.raises(RequestError, match="Is a directory"):
        ExposureLog(tmp_path)
    assert sorted(tmp_path.iterdir()) == []


def test_a_closed_log_is_an_error_that_the_router_tells(tmp_path, caplog):
    with ExposureLog(str(tmp_path / "exposures.jsonl")) as log:
        log(EXPOSURE)
    log.close()
    with pytest.raises(RequestError, match="Expected an open log"):
        log(EXPOSURE)
    Router({"stable": 1}, experiment="e", on_exposure=log).expose(EXPOSURE)
    assert "Expected an open log" in caplog.text


WRITER = """
import dataclasses, sys, threading
from tfs_client.routing.router import Exposure, ExposureLog
exposure = Exposure(experiment="e", unit="", label="x" * 3000, answered_by="", model="m", version=0,
                    request_id="", time_s=0, latency_s=0, error="", needs_review=False)
path, who = sys.argv[1], sys.argv[2]
with ExposureLog(path) as log:
    def write(thread):
        for n in range(300):
            log(dataclasses.replace(exposure, request_id=f"{who}-{thread}-{n}"))
    threads = [threading.Thread(target=write, args=[n]) for n in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""


def test_lines_of_several_threads_and_processes_never_mix(tmp_path):
    path = tmp_path / "exposures.jsonl"
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, path, who]) for who in "ab"]
    assert [process.wait(60) for process in processes] == [0, 0]
    ids = [line["request_id"] for line in written(path)]
    assert sorted(ids) == sorted(
        f"{who}-{thread}-{n}" for who in "ab" for thread in range(3) for n in range(300)
    )


@pytest.mark.parametrize("replaced", [True, False], ids=["replaced", "missing"])
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "deleted"])
def test_a_rotated_log_is_opened_anew_within_a_second(clock, log, tmp_path, replaced, kept):
    path, rotated = tmp_path / "exposures.jsonl", tmp_path / "exposures.jsonl.1"
    for _ in range(2):
        before = path.read_bytes()
        path.rename(rotated)
        if replaced:
            path.touch()
        clock.now_s += 0.99
        log(EXPOSURE)
        assert len(rotated.read_bytes()) > len(before)  # it was too early to look
        if not kept:
            rotated.unlink()
        clock.now_s += 0.01
        log(EXPOSURE)
        log(EXPOSURE)
        assert len(written(path)) == 2


def test_a_rotated_log_whose_folder_is_gone_is_told_and_tried_again(clock, tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    with ExposureLog(folder / "exposures.jsonl") as log:
        folder.rename(tmp_path / "old")
        clock.now_s += 1
        for _ in range(2):
            with pytest.raises(FileNotFoundError):
                log(EXPOSURE)
        folder.mkdir()
        log(EXPOSURE)
    assert len(written(folder / "exposures.jsonl")) == 1


FORKS = """
import os, signal, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from tfs_client.routing.router import Exposure, ExposureLog, Router
exposure = Exposure(experiment="e", unit="", label="x", answered_by="", model="m", version=0,
                    request_id="", time_s=0, latency_s=0, error="", needs_review=False)
log = ExposureLog(sys.argv[1])
router = Router({"stable": 1, "b": 1}, experiment="e", on_exposure=log)
held, done = threading.Event(), threading.Event()
def hold():
    with log._lock, router._lock:
        held.set()
        done.wait()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if not child:
    signal.alarm(20)
    router.kill()
    router.expose(exposure)
    os._exit(0)
_, status = os.waitpid(child, 0)
done.set()
thread.join()
router.expose(exposure)
sys.exit(status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_after_a_fork_both_sides_write_even_if_a_thread_held_the_locks(tmp_path):
    path = tmp_path / "exposures.jsonl"
    done = run(FORKS, path)
    assert done.returncode == 0
    assert "on_exposure failed" not in done.stderr
    assert len(written(path)) == 2


TORN = """
import os, resource, sys
from tfs_client.routing.router import Exposure, ExposureLog
exposure = Exposure(experiment="e", unit="", label="x", answered_by="", model="m", version=0,
                    request_id="", time_s=0, latency_s=0, error="", needs_review=False)
log = ExposureLog(sys.argv[1])
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
try:
    log(exposure)
except OSError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
log(exposure)
log(exposure)
"""


def test_a_line_torn_by_a_full_disk_is_told_and_spoils_no_other(tmp_path):
    pytest.importorskip("resource", reason="needs a limit on the size of files")
    path = tmp_path / "exposures.jsonl"
    assert "Received: 100; is the disk full?" in run(TORN, path).stdout
    torn, *whole = path.read_text().splitlines()
    assert len(torn) == 100
    assert [json.loads(line)["label"] for line in whole] == ["x", "x"]
