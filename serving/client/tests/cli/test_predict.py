"""tfs predict: who is asked, what is given to it, and what is printed when something fails."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import pty
import subprocess
import sys

import grpc
import numpy as np
import pytest

from tfs_client import contract
from tfs_client.cli import inputs, main
from tfs_client.wire import tensors


@pytest.fixture
def cell(as_file, tmp_path):
    path = tmp_path / "cell.png"
    path.write_bytes(as_file())
    return path


@pytest.fixture
def ask(server, capsys):
    """A function that runs tfs against the server: exit code, stdout and the lines of stderr."""

    def run(*arguments: object) -> tuple[int, str, list[str]]:
        code = main([*map(str, arguments), "--target", server.target])
        captured = capsys.readouterr()
        return code, captured.out, captured.err.splitlines()

    return run


@pytest.fixture
def piped(monkeypatch):
    """A function that lets standard input hold some bytes."""

    def give(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return give


def failing_after(server, good: int, code=grpc.StatusCode.INTERNAL):
    """Has Predict fail once it has answered so often."""
    honest, left = server.usual("Predict"), iter(range(good))

    def answer(request, context):
        if next(left, None) is None:
            context.abort(code, "fell over")
        return honest(request, context)

    server.handlers["Predict"] = answer


# ---- who is asked ----


def test_latest_asks_the_latest_version(ask, cell, server):
    code, out, err = ask("predict", cell, "--latest", "--json")
    assert (code, err, json.loads(out)[0]["model_version"]) == (0, [], 2)
    inputs_of_echo = ("--model", "echo", "--inputs", '{"x": 1}')
    assert ask("predict", *inputs_of_echo, "--latest")[1].startswith("echo version 2, ")
    assert ask("predict", *inputs_of_echo)[1].startswith("echo version 1, ")
    assert ask("metadata", "--latest")[1].startswith("image_classifier version 2\n")
    assert ask("wait-ready", "--latest")[1].startswith("image_classifier version 2 is ready")
    figures = json.loads(ask("bench", "--latest", "--duration-s", "0.1", "--json")[1])
    assert list(figures["versions"]) == ["2"]


def test_without_a_label_stable_the_latest_answers_and_is_told(ask, cell, server):
    del server.labels["stable"]
    said = (
        f"tfs: {server.target} knows no label 'stable' of 'image_classifier': its latest version "
    )
    for arguments in (["predict", cell], ["metadata"], ["bench", "--duration-s", "0.1"]):
        code, out, err = ask(*arguments)
        assert (code, err) == (0, [f"{said}answers, 2"])
        assert "2" in out
    # Whoever names a label means it, and whoever waits for one waits.
    for arguments in (
        ["predict", cell, "--label", "stable"],
        ["wait-ready", "--timeout-s", "0.3"],
        ["metadata", "--label", "stabel"],
    ):
        code, out, (line,) = ask(*arguments)
        assert (code, out) == (2, "")
        assert "the model is there, a version with the label 'stab" in line
        assert "is not. Its versions: 1 (AVAILABLE), 2 (AVAILABLE); --latest asks" in line


def test_a_version_that_is_not_loaded_is_not_replaced(ask, cell, server):
    del server.models["image_classifier"].versions[1]
    for arguments in (["predict", cell], ["predict", cell, "--version", "1"]):
        code, out, (line,) = ask(*arguments)
        assert (code, out) == (2, "")
        assert (
            "the model is there, the version that was asked for is not. Its versions: 2 (AV" in line
        )


@pytest.mark.parametrize(
    "verb",
    [
        ["predict", "CELL"],
        ["predict", "CELL", "--label", "canary"],
        ["predict", "CELL", "--version", "3"],
        ["predict", "CELL", "--latest"],
        ["predict", "--inputs", '{"x": 1}'],
        ["metadata"],
        ["status"],
        ["wait-ready", "--timeout-s", "0.3"],
        ["bench"],
    ],
    ids=" ".join,
)
def test_a_misspelt_model_is_told_as_such(verb, ask, cell, server):
    words = [cell if word == "CELL" else word for word in verb]
    code, out, (line,) = ask(*words, "--model", "image_clasifier")
    assert (code, out) == (2, "")
    assert line.startswith(
        f"tfs: error: There is no model 'image_clasifier' at {server.target}: the server answered "
        "NOT_FOUND (Could not find any versions of model image_clasifier); did you mean "
        "'image_classifier'? Its models are those of its models.config"
    )
    assert "label" not in line
    assert line.endswith(" (waited 0.3 s)") == (verb[0] == "wait-ready")
    (line,) = ask(*words, "--model", "zebra")[2]
    assert "did you mean" not in line
    assert "; its models are those of its models.config: give one with --model" in line


def test_wait_ready_says_how_long_it_waited(ask, server):
    del server.labels["canary"]
    for asked, found in (
        (["--label", "canary"], "INVALID_ARGUMENT"),
        (["--version", "9"], "NOT_FOUND"),
    ):
        code, out, (line,) = ask("wait-ready", *asked, "--timeout-s", "0.3")
        assert (code, out) == (2, "")
        assert f"to answer GetModelMetadata within 0.3 s. Received: {found}" in line
    assert "within" not in ask("metadata", "--label", "canary")[2][0]


def test_where_the_states_cannot_be_had_the_error_stays(ask, cell, server):
    server.handlers["GetModelStatus"] = lambda request, context: context.abort(
        grpc.StatusCode.UNIMPLEMENTED, "no"
    )
    said = ask("predict", cell, "--label", "x")[2][0]
    assert "no label 'x' of model 'image_classifier', or no such model" in said


# ---- what it is given ----


def test_only_the_outputs_named_are_asked_for(ask, server):
    given = ("--model", "echo", "--signature", "pair", "--inputs", '{"a": [1, 2], "b": [3, 4]}')
    code, out, _ = ask("predict", *given, "--outputs", "b", "--json")
    assert (code, json.loads(out)["outputs"]) == (0, {"b": [3.0, 4.0]})
    assert server.asked("Predict")[-1].outputs == ("b",)
    code, out, (line,) = ask("predict", *given, "--outputs", "b,c")
    assert (code, out) == (2, "")
    assert "'c'" in line


def test_bytes_are_given_as_base64_and_come_back_so(ask):
    raw = bytes(range(256))
    words = [{"b64": base64.b64encode(one).decode()} for one in (raw, b"text", b"")]
    given = ("--model", "echo", "--signature", "echoing", "--json")
    code, out, _ = ask("predict", *given, "--inputs", json.dumps({"x": 1, "words": words}))
    assert (code, json.loads(out)["outputs"]["words"]) == (0, [words[0], "text", ""])
    nested = json.dumps({"x": 1, "words": [[words[0]], [words[1]]]})
    assert json.loads(ask("predict", *given, "--inputs", nested)[1])["outputs"]["words"] == [
        [words[0]],
        ["text"],
    ]


def test_a_picture_goes_in_as_bytes(ask, as_file):
    picture = {"b64": base64.b64encode(as_file()).decode()}
    code, out, _ = ask("predict", "--inputs", json.dumps({"image_bytes": [picture]}), "--json")
    found = json.loads(out)["outputs"]
    assert (code, found["label"], found["valid"]) == (0, ["defective"], [True])


def test_standard_input_holds_inputs_or_a_picture(ask, as_file, piped, cell, monkeypatch):
    piped(b'{"x": [1, 2]}')
    code, out, _ = ask("predict", "--model", "echo", "--inputs", "-", "--json")
    assert (code, json.loads(out)["outputs"]) == (0, {"x": [1.0, 2.0]})
    piped(as_file())
    code, out, _ = ask("predict", cell, "-", "--json")
    rows = json.loads(out)
    assert (code, [row["file"] for row in rows]) == (0, [str(cell), "-"])
    assert [row["label"] for row in rows] == ["defective"] * 2
    piped(as_file())
    assert (
        "image_bytes string [2]"
        in ask(*("bench", "-", "--batch-size", "2", "--duration-s", "0.1"))[1]
    )
    monkeypatch.chdir(cell.parent)
    cell.rename("-")
    assert ask("predict", "./-")[0] == 0
    piped(b"")
    code, out, (line,) = ask("predict", "-")
    assert (code, line) == (
        *(1, "tfs: not sent: -: ImageError: Expected an image file. Received: bytes of 0 bytes"),
    )


def test_a_terminal_is_not_waited_for(server):
    theirs, ours = pty.openpty()
    command = [sys.executable, "-m", "tfs_client", "predict", "-", "--target", server.target]
    done = subprocess.run(
        command, stdin=ours, capture_output=True, text=True, check=False, timeout=30
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 2
    assert "Received: a terminal; give the file's name" in done.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ('{"x": {"b64": "a"}}', 'Expected base64 in {"b64": "…"} of the input \'x\''),
        ('{"x": [{"b64": "####"}]}', "Received: '####'"),
        ('{"x": {"b64": 3}}', 'lists of them or {"b64": "…"} in the input \'x\''),
        ('{"x": {"b65": "YQ=="}}', "Received: an object with ['b65']"),
        ('{"x": {"b64": "YQ==", "b64": "YQ=="}}', "Received: an object with ['b64', 'b64']"),
        ('{"x": 1, "y": 2, "x": 3}', "Expected each input once. Received: 'x' twice"),
        ("[" * 100_000, "lists in lists"),
        ("", "Expected --inputs as JSON"),
        ('"x"', "a JSON object of arrays by name"),
        ("-", "Received: -: "),
    ],
    ids=lambda value: value[:30],
)
def test_inputs_that_cannot_be_read_are_one_line(given, said, ask, piped):
    piped(b"\xff\xfe no text")
    code, out, (line,) = ask("predict", "--model", "echo", "--inputs", given)
    assert (code, out) == (2, "")
    assert said in line


def test_files_that_cannot_be_read_are_one_line(ask, tmp_path, monkeypatch, piped):
    monkeypatch.setattr(inputs, "MAX_JSON_BYTES", 100)
    (tmp_path / "large.json").write_bytes(b" " * 101)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 broken")
    (tmp_path / "empty.npz").write_bytes(b"")
    piped(b" " * 101)
    for given, said in (
        (tmp_path / "large.json", "of at most 100 bytes"),
        (tmp_path / "broken.npz", "Expected an .npz file of arrays"),
        (tmp_path / "empty.npz", "Expected an .npz file of arrays"),
        ("-", "Expected at most 100 bytes for -. Received: more"),
    ):
        code, out, (line,) = ask("predict", "--model", "echo", "--inputs", given)
        assert (code, out) == (2, "")
        assert said in line


# ---- what is printed ----


@pytest.mark.parametrize("flags", [[], ["--json"], ["--csv"]], ids=["table", "json", "csv"])
def test_what_was_answered_is_printed_although_a_later_one_fails(
    flags, ask, server, as_file, tmp_path
):
    for at in range(4):
        (tmp_path / f"{at}.png").write_bytes(as_file()[: 5000 if at == 1 else None])
    failing_after(server, 2)
    code, out, err = ask("predict", tmp_path, *flags)
    assert code == 2
    files = [f"{at}.png" for at in range(4) if f"{at}.png" in out]
    assert files == ["0.png", "1.png"]
    if flags == ["--json"]:
        assert [row["valid"] for row in json.loads(out)] == [True, False]
    not_valid, answered, error = err
    assert not_valid.startswith(f"tfs: not valid: {tmp_path / '1.png'}: Expected a whole PNG file")
    assert answered == "tfs: answered are 2 of 4 images, not the others"
    assert error.startswith("tfs: error: ")
    assert "fell over" in error


def test_what_was_answered_is_printed_at_an_interruption(ask, server, as_file, tmp_path, capsys):
    for at in range(3):
        (tmp_path / f"{at}.png").write_bytes(as_file())
    honest = server.usual("Predict")
    calls = iter(range(9))

    def interrupted(request, context):
        if next(calls) == 1:
            os.kill(os.getpid(), 2)
        return honest(request, context)

    server.handlers["Predict"] = interrupted
    code, out, err = ask("predict", tmp_path)
    assert (code, err[-1]) == (130, "tfs: interrupted")
    assert "0.png" in out
    assert "2.png" not in out


def test_csv_has_the_columns_of_json_and_no_formula(ask, server, as_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["=1+2.png", "'=x.png", "@a.png", "a,b.png", 'q"uote.png', "z.png", "\n.png"]
    for name in names:
        (tmp_path / name).write_bytes(as_file()[: 5000 if name == "z.png" else None])
    (tmp_path / "empty.png").touch()
    names.append("empty.png")
    files = [f"./{name}" if name[0] == "z" else name for name in names]
    honest = server.usual("Predict")

    def predict(request, context):
        response = honest(request, context)
        if tensors.from_proto(response.outputs["valid"])[0]:
            response.outputs["label"].CopyFrom(tensors.to_proto(["-sound"]))
        return response

    server.handlers["Predict"] = predict
    code, out, _ = ask("predict", *files, "--csv")
    assert code == 1
    rows = list(csv.DictReader(io.StringIO(out)))
    shown = ["'=1+2.png", "''=x.png", "'@a.png", "a,b.png", 'q"uote.png', "z.png", "\\n.png"]
    assert [row["file"] for row in rows] == [*shown, "empty.png"]
    for row in rows:
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values())
    good, broken, unsent = rows[0], rows[5], rows[7]
    assert (good["label"], good["valid"], good["needs_review"]) == ("'-sound", "true", "false")
    assert float(good["probability"]) == pytest.approx(0.1)
    assert good["reason"] == ""
    assert (broken["valid"], broken["probability"], broken["model_version"]) == ("false", "", "1")
    assert broken["reason"].startswith("Expected a whole PNG file")
    assert (unsent["model_version"], unsent["latency_s"], unsent["answered_by"]) == ("", "", "")
    assert list(good) == list(json.loads(ask("predict", "z.png", "--json")[1])[0])


def test_csv_of_outputs_has_a_line_a_row(ask):
    echoing = ("predict", "--model", "echo", "--signature", "echoing", "--csv", "--inputs")
    given = {"x": [1.5, float("nan")], "words": ["=a", "b"]}
    assert ask(*echoing, json.dumps(given))[:2] == (0, "words,x\n'=a,1.5\nb,\n")
    nested = {"x": [[1, 2], [3, 4]], "words": ["a", "b"]}
    rows = list(csv.reader(io.StringIO(ask(*echoing, json.dumps(nested))[1])))
    assert rows == [["words", "x"], ["a", "[1.0, 2.0]"], ["b", "[3.0, 4.0]"]]
    code, out, (line,) = ask(*echoing, '{"x": [1, 2, 3], "words": ["a", "b"]}')
    assert (code, out) == (2, "")
    assert "Received: words: 2, x: 3; choose with --outputs, or take --json" in line
    assert ask(*echoing, '{"x": 3, "words": "a"}')[1] == "words,x\na,3.0\n"


def test_a_picture_that_is_not_valid_is_told_with_its_reason(ask, cell):
    cell.write_bytes(cell.read_bytes()[:5000])
    code, _, (line,) = ask("predict", cell)
    assert code == 1
    assert line == (
        f"tfs: not valid: {cell}: Expected a whole PNG file. Received: {cell} of 5000 bytes, which "
        "end in the middle of a part; transfer or save it again"
    )


def test_pixels_of_npz_files_go_in_too(ask, tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, images=np.zeros((1, 64, 64, 3), np.uint8))
    given = ("--inputs", path, "--signature", contract.SIGNATURE_IMAGES)
    code, out, _ = ask("predict", *given, "--csv")
    assert code == 0
    (row,) = csv.DictReader(io.StringIO(out))
    assert (row["label"], row["needs_review"], row["valid"]) == ("defective", "false", "true")
    assert float(row["probability"]) == pytest.approx(0.1)
    assert json.loads(row["classes"]) == ["sound", "defective"]
    assert json.loads(row["scores"]) == pytest.approx([0.9, 0.1])
