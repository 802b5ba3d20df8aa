"""What file names, labels and servers say cannot steer the terminal that shows it."""

from __future__ import annotations

import dataclasses
import json
import os
import sys

import grpc
import pytest

from tfs_client import ShadowLog
from tfs_client.cli import main, output
from tfs_client.wire import serving_pb2 as pb, tensors

from .test_shadow_report import odd

STEERS = "\x1b[2J\r\n\x07\x7f\x9b31m\u202e\u2028"
"""Clears the screen, ends lines, rings, removes, colours, turns the direction of writing."""
WRITTEN_OUT = r"\x1b[2J\r\n\x07\x7f\x9b31m\u202e\u2028"


@pytest.fixture
def steering(server):
    """A server whose labels, states, names and errors try to steer a terminal."""
    honest = server.usual("Predict")

    def predict(request, context):
        response = honest(request, context)
        if "label" in response.outputs:
            response.outputs["label"].CopyFrom(tensors.to_proto([f"ok{STEERS}"]))
        return response

    failed = pb.GetModelStatusResponse()
    row = failed.model_version_status.add(version=3, state="END")
    row.status.error_code = 9
    row.status.error_message = f"broken{STEERS}"
    server.handlers["Predict"] = predict
    server.handlers["GetModelStatus"] = lambda request, context: failed
    return server


def printed(capsys) -> tuple[str, str]:
    """What went to stdout and stderr; refuses what steers a terminal, but for ends of lines."""
    captured = capsys.readouterr()
    for text in captured:
        assert all(line.isprintable() for line in text.split("\n")), text
    return captured


def test_names_of_files_and_labels(steering, as_file, tmp_path, capsys):
    path = tmp_path / f"a{STEERS}.png"
    path.write_bytes(as_file())
    (tmp_path / "empty\x1b.png").touch()
    folder = ["predict", str(tmp_path), "--target", steering.target]
    assert main(folder) == 1
    out, err = printed(capsys)
    header, *rows = out.splitlines()
    assert len(rows) == 2
    assert f"a{WRITTEN_OUT}.png  ok{WRITTEN_OUT}" in rows[0]
    assert header.index("label") == rows[0].index("ok\\x1b")
    assert r"tfs: not sent: " in err
    assert r"empty\x1b.png" in err
    assert main([*folder, "--json"]) == 1
    out, _ = printed(capsys)
    found = json.loads(out)[0]
    assert (found["file"], found["label"]) == (str(path), f"ok{STEERS}")  # a parser has them back


def test_a_name_that_is_no_text(steering, as_file, tmp_path, capsys):
    try:
        (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(as_file())
    except OSError:
        pytest.skip("this file system takes only names that are text")
    for flags in ([], ["--json"]):
        assert main(["predict", str(tmp_path), "--target", steering.target, *flags]) == 0
        assert r"\udcff.png" in printed(capsys)[0]


def test_states_and_errors_of_a_server(steering, capsys):
    for flags in ([], ["--json"]):
        assert main(["status", "--target", steering.target, *flags]) == 0
        assert "broken" in printed(capsys)[0]
    steering.handlers["GetModelStatus"] = lambda request, context: context.abort(
        grpc.StatusCode.INTERNAL, "broken\x1b[2J\x9b"
    )
    assert main(["status", "--target", steering.target]) == 2
    assert r"broken\x1b[2J\x9b" in printed(capsys)[1]


def test_names_of_tensors_and_versions(server, capsys):
    honest = server.usual("GetModelMetadata")

    def metadata(request, context):
        response = honest(request, context)
        signatures = pb.SignatureDefMap()
        signature = signatures.signature_def[f"s{STEERS}"]
        signature.method_name = "m"
        signature.inputs[f"x{STEERS}"].dtype = pb.DT_FLOAT
        response.metadata["signature_def"].value = signatures.SerializeToString()
        return response

    server.handlers["GetModelMetadata"] = metadata
    for flags in ([], ["--json"]):
        assert main(["metadata", "--target", server.target, *flags]) == 0
        assert r"[2J" in printed(capsys)[0]


def test_the_lines_of_a_shadows_log(tmp_path, capsys):
    with ShadowLog(tmp_path / "shadow.jsonl") as log:
        log(dataclasses.replace(odd(1), request_id=STEERS, shadow_label=STEERS, model=STEERS))
    for flags in ([], ["--json"]):
        assert main(["shadow-report", str(tmp_path / "shadow.jsonl"), *flags]) == 0
        assert "[2J" in printed(capsys)[0]


def test_what_can_be_read_stays_as_it_is(capsys):
    text = "größe 日本 🙂 'a\\n'"
    assert output.printable(text) == text
    output.print_json({text: "🙂\U000e0001"})  # a tag, which has no picture: two units of UTF-16
    assert json.loads(capsys.readouterr().out) == {text: "🙂\U000e0001"}
    output.say("a\nb", sys.stderr)
    assert capsys.readouterr().err == "a\\nb\n"
