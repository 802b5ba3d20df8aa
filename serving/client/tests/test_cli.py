from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tfs_client.cli import main


@pytest.fixture
def cell(as_file, tmp_path):
    path = tmp_path / "cell.png"
    path.write_bytes(as_file())
    return path


def test_predict_shows_one_aligned_line_an_image(server, cell, tmp_path, capsys):
    broken = tmp_path / "broken and long.png"
    broken.write_bytes(b"no image")
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


def test_predict_speaks_json_with_null_for_what_is_unknown(server, cell, tmp_path, capsys):
    empty = tmp_path / "empty.png"
    empty.touch()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"x")
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
    assert f"tfs: not valid: {broken}: Expected a whole JPEG, PNG, GIF, BMP file" in captured.err
    assert str(cell) not in captured.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "missing.png"], "no such file: missing.png"),
        (["predict", "."], "Received: none in ."),
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
    assert "predict_images   in   images       uint8    [N, 48, 32, 3]" in lines
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
