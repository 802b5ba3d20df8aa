"""What every command does the same way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from foundation import command_line

ROOT = Path(__file__).resolve().parents[3]

LOST_INTERRUPT = """
import os, signal, sys
from foundation import command_line

class Interrupting:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)  # Python prints and forgets what is raised in here
        for _ in range(1000):
            pass

def body():
    thing = Interrupting()
    del thing
    for _ in range(10):
        command_line.raise_if_interrupted()
    return 0

sys.exit(command_line.run("demo", body))
"""


def test_an_interrupt_that_python_forgot_still_ends_a_long_loop() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOST_INTERRUPT],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "Exception ignored" in done.stderr
    assert done.stderr.splitlines()[-1] == "demo: interrupted"
    assert done.returncode == 130


@pytest.mark.parametrize("error", [command_line.InputError("too small"), OSError("too small")])
def test_what_a_person_can_mend_is_one_line_and_exit_code_2(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> int:
        raise error

    assert command_line.run("demo", body) == 2
    assert capsys.readouterr().err == "demo: error: too small\n"


def test_a_bug_is_not_hidden() -> None:
    def body() -> int:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        command_line.run("demo", body)


def test_a_wrong_flag_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.Parser(prog="demo").parse_args(["--nope"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
