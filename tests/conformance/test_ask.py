"""A server that ends at a case is noticed, even if another is up in its place at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.ask import Server, ServerEndedError
from tests.conformance.case import Answer, Case, Refused, Rpc, recorded

SERVER = """
import os, sys
from concurrent import futures
import grpc

def answer(sent, context):
    if sent == b"end":
        os._exit(1)
    return sent

methods = {"Ask": grpc.unary_unary_rpc_method_handler(answer)}
server = grpc.server(futures.ThreadPoolExecutor(2))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Mortal", methods),))
print(server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}"), flush=True)
server.start()
server.wait_for_termination()
"""

GOOD = recorded("a good one", Rpc("/Mortal/Ask", b"\x01"), Answer("01"))
DEADLY = recorded("a deadly one", Rpc("/Mortal/Ask", b"end"), Refused(("UNAVAILABLE",)))


def started(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "server.py"
    path.write_text(SERVER)
    return path


@pytest.fixture
def process(script: Path) -> Iterator[subprocess.Popen[str]]:
    with started(str(script), "0") as process:
        yield process
        process.kill()  # if it still runs


def asked(port: str) -> Server:
    return Server(f"127.0.0.1:{port}", f"127.0.0.1:{port}", "/models", "default")


def port_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def run(server: Server, case: Case) -> list[object]:
    return server.run(case)


def test_the_end_of_a_server_is_told_with_the_case(process: subprocess.Popen[str]) -> None:
    server = asked(port_of(process))

    assert run(server, GOOD) == [{"answer": "01"}]
    with pytest.raises(ServerEndedError, match=r"^the server ended at case a deadly one$"):
        run(server, DEADLY)
    process.wait(20)
    with pytest.raises(ServerEndedError, match=r"^the server had ended before case a good one$"):
        run(server, GOOD)
    server.close()


def test_a_server_that_is_up_again_has_ended_all_the_same(
    process: subprocess.Popen[str], script: Path
) -> None:
    port = port_of(process)
    server = asked(port)

    def ask_while_it_is_started_again() -> None:
        with server._watched(GOOD) as check:
            process.kill()
            process.wait()
            with started(str(script), port) as again:
                try:
                    assert port_of(again) == port
                    check(server.ask(GOOD.steps[0].request))
                finally:
                    again.kill()

    with pytest.raises(ServerEndedError, match=r"^the server ended at case a good one$"):
        ask_while_it_is_started_again()
    server.close()
