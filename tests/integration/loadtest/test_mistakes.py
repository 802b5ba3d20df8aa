"""What `loadtest.run` refuses: one line, exit code 2, nothing sent and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest import run
from serving.client.tests.model_server import ModelServer
from tests.integration.loadtest import commands
from tfs_client.wire import serving_pb2 as pb

CLOSED = [
    (["--target", "127.0.0.1:1"], "No server answered GetModelMetadata at 127.0.0.1:1"),
    (["--target", "localhost"], "host:port"),
    (["--users", "0"], "Expected --users above 0"),
    (["--users", "-3"], "Received: users=-3"),
    (["--duration-s", "0"], "Expected --duration-s above 0"),
    (["--timeout-s", "nan"], "Expected --timeout-s above 0"),
    (["--images", "empty"], "Received: none in empty"),
    (["--images", "missing"], "which is none"),
    (["--label", "nope"], "Unrecognized servable version label: nope"),
    (
        ["--model", "nope", "--label", "stable"],
        "no label 'stable' of model 'nope'",
    ),
    (["--api", "soap"], "Expected --api of grpc, rest"),
    (["--think-time", "soon"], "Expected --think-time in seconds"),
    (["--workers", "2", "--remote-workers", "2"], "Expected --workers or --remote-workers"),
    (["--remote-workers", "-1"], "Expected --remote-workers from 1"),
    (["--api", "rest", "--target", "127.0.0.1:1"], "nothing listens on that port: start"),
    (["--api", "rest", "--target", "https://localhost:1"], "speaks no TLS"),
    (["--api", "rest", "--target", "GRPC"], "is this the gRPC port?"),
    (["--api", "rest", "--tls"], "Expected no TLS and no token"),
]

OPEN = [
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
    (["--rate", "5", "--timeout-s", "0.5", "--tls"], "No server answered"),
    (["--rate", "5", "--tls-roots", "missing.pem"], "missing.pem"),
    (["--rate", "5", "--api", "rest"], "they are of the closed loop"),
]


@pytest.mark.parametrize(("arguments", "words"), [*CLOSED, *OPEN], ids=" ".join)
def test_a_mistake_is_one_line_and_exit_code_2_and_writes_nothing(
    server: ModelServer, pictures: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "empty").mkdir()
    given = [server.target if one == "GRPC" else one for one in arguments]
    where = ("--target", server.target, "--images", str(pictures))
    done = commands.run(run.main, *where, *given, folder=tmp_path)
    assert done.code == 2
    (line,) = done.told.splitlines()
    assert line.startswith("python -m loadtest.run: error: ")
    assert words in line
    assert done.out == ""
    assert not (tmp_path / "build").exists()


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
    server: ModelServer, pictures: Path, tmp_path: Path, flags: list[str], words: str
) -> None:
    plain = ("--target", server.target, "--images", str(pictures), "--rate", "9")
    done = commands.run(run.main, *plain, "--duration-s", "2", *flags, folder=tmp_path)
    assert done.code == 2
    assert words in done.told
    assert not (tmp_path / "build").exists() or not list((tmp_path / "build").iterdir())
    assert not server.asked("Predict")


def test_a_version_without_the_signature_is_refused(
    server: ModelServer, pictures: Path, tmp_path: Path
) -> None:
    empty = pb.GetModelMetadataResponse()
    empty.metadata["signature_def"].value = pb.SignatureDefMap().SerializeToString()
    server.handlers["GetModelMetadata"] = lambda request, context: empty
    where = ("--target", server.target, "--images", str(pictures))
    done = commands.run(run.main, *where, folder=tmp_path)
    assert done.code == 2
    assert "to have the signature serving_default" in done.told
