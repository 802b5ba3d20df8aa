"""The preloaded Python does what Python does."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import preloaded

pytestmark = pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="needs pidfd_open: run it on Linux"
)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with preloaded.python(tmp_path_factory.mktemp("preloaded"), ["wave"]) as found:
        yield found


SCRIPT = """
import os, sys
print(sys.argv[1:], os.getcwd(), os.environ["WORD"], sys.stdin.read(), __name__)
print("wave" in sys.modules, sys.executable.endswith("/python"))
sys.stderr.write("told")
sys.exit(3)
"""


def test_arguments_folder_environment_and_files_are_the_callers(
    python: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [python, "-c", SCRIPT, "a b", "ü"],
        cwd=tmp_path,
        env={**os.environ, "WORD": "w"},
        input="in",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"['a b', 'ü'] {tmp_path} w in __main__\nTrue True\n"
    assert (done.stderr, done.returncode) == ("told", 3)


def test_a_module_runs_as_main_and_finds_what_lies_in_its_folder(
    python: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("import sys; print(__name__, sys.argv[1:]); 1 / 0")
    done = subprocess.run(
        [python, "-X", "faulthandler", "-m", "mine", "x"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "__main__ ['x']\n"
    assert done.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert done.returncode == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_reach_the_child_and_its_end_is_the_programs(python: str, number: int) -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [python, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    child = int(process.stdout.readline())
    process.send_signal(number)
    _, talk = process.communicate(timeout=30)
    assert process.returncode == -number
    assert ("KeyboardInterrupt" in talk) == (number == signal.SIGINT)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_child_that_aborts_ends_the_program_the_same_way(python: str) -> None:
    done = subprocess.run([python, "-c", "import os; os.abort()"], check=False)
    assert done.returncode == -signal.SIGABRT


def test_nothing_is_left_when_it_ends(tmp_path: Path) -> None:
    with preloaded.python(tmp_path / "p", []) as python:
        done = subprocess.run([python, "-c", "import os; print(os.getppid())"], capture_output=True)
        assert done.returncode == 0
    refused = subprocess.run([python, "-c", ""], capture_output=True, check=False)
    assert refused.returncode == 1
