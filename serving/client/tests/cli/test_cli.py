"""The command tfs: what each verb prints, and its exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys

import grpc
import numpy as np
import pytest

from tfs_client.cli import main


@pytest.fixture
def broken(as_file, tmp_path):
    """A file with half of its picture."""
    path = tmp_path / "broken and long.png"
    path.write_bytes(as_file()[:5000])
    return path


@pytest.fixture
def cell(as_file, tmp_path):
    path = tmp_path / "cell.png"
    path.write_bytes(as_file())
    return path


def test_predict_shows_one_aligned_line_an_image(server, cell, broken, capsys):
    assert main(["predict", str(cell), str(broken), "--target", server.target]) == 1
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == [
        *("file", "label", "probability", "needs_review", "version", "latency_ms")
    ]
    assert first.split()[:5] == [str(cell), "defective", "0.1000", "no", "1"]
    assert float(first.split()[5]) > 0
    assert "(not valid)" in second
    assert first.index("defective") == second.index("(not valid)") == header.index("label")


def test_predict_takes_a_folder_a_label_and_a_version(server, cell, capsys):
    (cell.parent / "notes.txt").write_text("no image")
    for choice in (["--label", "canary"], ["--version", "2"]):
        assert main(["predict", str(cell.parent), "--target", server.target, *choice]) == 0
        (line,) = capsys.readouterr().out.splitlines()[1:]
        assert line.split()[:5] == [str(cell), "defective", "0.2000", "no", "2"]


def test_predict_speaks_json_with_null_for_what_is_unknown(server, cell, broken, capsys):
    empty = cell.parent / "empty.png"
    empty.touch()
    files = [str(cell), str(empty), str(broken)]
    assert main(["predict", *files, "--target", server.target, "--json"]) == 1
    captured = capsys.readouterr()
    good, not_sent, not_valid = json.loads(captured.out)
    assert good["file"] == str(cell)
    assert good["probability"] == pytest.approx(0.1)
    assert good["latency_s"] > 0
    assert list(good) == list(not_sent) == list(not_valid)
    assert (not_sent["valid"], not_sent["model_version"]) == (False, None)
    assert (not_valid["valid"], not_valid["probability"], not_valid["model_version"]) == (
        *(False, None, 1),
    )
    assert "empty.png of 0 bytes" in captured.err
    assert f"tfs: not valid: {broken}: Expected a whole PNG file. Received: " in captured.err
    assert "of 5000 bytes, which end in the middle of a part" in not_valid["reason"]
    assert str(cell) not in captured.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "missing.png"], "no such file: missing.png"),
        (["predict", "."], "Received: none in ."),
        (["predict"], "Expected images, a folder of them, or --inputs"),
        (["predict", "cell.png", "--inputs", "{}"], "Received: both"),
        (["predict", "--inputs", "{x"], "Expected --inputs as JSON"),
        (["predict", "--inputs", "[1]"], "JSON object of arrays by name"),
        (
            ["predict", "--inputs", "missing.npz"],
            "Expected --inputs as an .npz file of arrays. Received: missing.npz (No such file or "
            "directory); give the path of one that is there",
        ),
        (
            ["predict", "--inputs", "missing.json"],
            "Expected --inputs as a .json file of arrays by name. Received: missing.json (No such",
        ),
        (
            ["status", "--token-file", "missing.txt"],
            "Expected --token-file as a file with a token. Received: missing.txt (No such file",
        ),
        (["status", "--tls-key", "missing.pem"], "key without the other"),
        (["status", "--tls-roots", "missing.pem"], "Tls.roots as a PEM file"),
        (["bench", "--duration-s", "0"], "--duration-s above 0"),
        (["predict", "cell.png", "--target", "localhost"], "host:port"),
        (["predict", "cell.png", "--target", "127.0.0.1:1"], "No server answered GetModelMetadata"),
        (["predict", "cell.png", "--timeout-s", "0"], "timeout_s=0.0"),
        (["metadata", "--target", "127.0.0.1:1"], "No server answered GetModelMetadata"),
        (["status", "--target", "127.0.0.1:1"], "No server answered GetModelStatus"),
        (["wait-ready", "--target", "127.0.0.1:1", "--timeout-s", "0.4"], "within 0.4 s"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments, words, as_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    if "cell.png" in arguments:
        (tmp_path / "cell.png").write_bytes(as_file())
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("tfs: error: ")
    assert words in line


def test_metadata_shows_every_tensor(server, capsys):
    assert main(["metadata", "--target", server.target, "--label", "canary"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "image_classifier version 2"
    assert "predict_images   in   images        uint8    [N, 48, 32, 3]" in lines
    assert main(["metadata", "--target", server.target, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    shape = found["signatures"]["predict_images"]["inputs"]["images"]["shape"]
    assert (found["version"], shape) == (1, [None, 64, 64, 3])


def test_status_shows_every_version(server, capsys):
    assert main(["status", "--target", server.target]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["1", "AVAILABLE", "OK"],
        ["2", "AVAILABLE", "OK"],
    ]


def test_wait_ready_waits_for_stable_unless_told_otherwise(server, capsys):
    assert main(["wait-ready", "--target", server.target]) == 0
    assert "image_classifier version 1 is ready" in capsys.readouterr().out


def test_python_m_is_the_same_command(server, cell):
    command = [sys.executable, "-m", "tfs_client", "predict", str(cell), "--target", server.target]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert "defective" in done.stdout


def test_predict_takes_arrays_for_any_model(server, tmp_path, capsys):
    ask = ["predict", "--target", server.target, "--model", "echo", "--label", "canary"]
    assert main([*ask, "--inputs", '{"x": [[1, 2.5]]}']) == 0
    first, header, line = capsys.readouterr().out.splitlines()
    assert first.startswith("echo version 2, ")
    assert header.split() == ["output", "dtype", "shape", "values"]
    assert line.split(maxsplit=2)[:2] == ["x", "float32"]
    assert line.endswith("[[1. , 2.5]]")
    np.savez(tmp_path / "inputs.npz", x=np.float32([1, np.nan]))
    (tmp_path / "inputs.json").write_text('{"x": 3, "words": ["a", "b"]}')
    assert main([*ask, "--inputs", str(tmp_path / "inputs.npz"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outputs"] == {"x": [1.0, None]}
    words = ["--inputs", str(tmp_path / "inputs.json"), "--signature", "echoing", "--json"]
    assert main([*ask, *words]) == 0
    assert json.loads(capsys.readouterr().out)["outputs"] == {"x": 3.0, "words": ["a", "b"]}


def test_bench_measures_for_a_while_and_counts_errors(server, cell, capsys):
    ask = ["bench", "--target", server.target, "--duration-s", "0.3", "--concurrency", "2"]
    assert main([*ask, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["inputs"] == {"images": "uint8 [1, 64, 64, 3]"}
    assert figures["requests"] == sum(figures["versions"].values()) > 2
    assert figures["requests_per_s"] == pytest.approx(figures["requests"] / 0.3, rel=0.5)
    assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["max"]
    assert len(server.asked("Predict")) == figures["requests"] + 1
    assert main([*ask, str(cell), "--batch-size", "3"]) == 0
    assert "image_bytes string [3]" in capsys.readouterr().out

    calls = iter(range(10**6))
    honest = server.usual("Predict")

    def sometimes(request, context):
        if next(calls) % 2:
            context.abort(grpc.StatusCode.UNAVAILABLE, "The batch scheduling queue is full")
        return honest(request, context)

    server.handlers["Predict"] = sometimes
    assert main(ask) == 1
    assert "UNAVAILABLE: " in capsys.readouterr().out


def test_bench_makes_up_nothing_for_strings(server, capsys):
    ask = ["bench", "--target", server.target, "--signature", "serving_default"]
    assert main(ask) == 2
    assert "Expected images or --inputs" in capsys.readouterr().err


def test_progress_is_one_line_on_a_terminal_and_nothing_elsewhere(server, cell):
    command = [sys.executable, "-m", "tfs_client", "predict", str(cell), "--target", server.target]
    theirs, ours = pty.openpty()
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=ours, text=True, check=True, timeout=30
    )
    os.close(ours)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while more := os.read(theirs, 1000):
            shown += more
    os.close(theirs)
    assert "1/1 images" in shown.decode()
    assert shown.decode().endswith("\r\x1b[K")
    assert "images" not in done.stdout
