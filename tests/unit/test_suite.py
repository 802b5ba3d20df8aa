"""How the suite runs: its order, its line about skipped tests, and what a fast run refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import suite

ROOT = Path(__file__).parents[2]


def run(folder: Path, tests: str, *flags: str) -> list[str]:
    """The lines that pytest prints for a file of tests, with the suite's own plugins."""
    (folder / "test_it.py").write_text(tests)
    (folder / "conftest.py").write_text(
        "from tests import suite\n"
        "def pytest_configure(config):\n"
        "    config.pluginmanager.register(suite.Order(config))\n"
        "    config.pluginmanager.register(suite.Printable())\n"
        "    config.pluginmanager.register(suite.Skipped())\n"
        "    config.pluginmanager.register(suite.Turns(config))\n"
    )
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = alone\n")
    command = [sys.executable, "-m", "pytest", "-q", *flags, str(folder)]
    # A run of its own, that waits for no turn in the run that this test belongs to.
    own = {name: value for name, value in os.environ.items() if "PYTEST_XDIST" not in name}
    environment = {**own, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout.splitlines()


def test_skipped_tests_are_counted_with_what_brings_them() -> None:
    reasons = 2 * ["Skipped: needs promtool: apt-get install prometheus"]
    reasons += 3 * ["Skipped: needs a container engine: apt-get install docker.io"]
    reasons += ["Skipped: this system has no fork"]
    assert suite.in_one_line(reasons) == (
        "skipped: 3 for want of a container engine (apt-get install docker.io), "
        "2 for want of promtool (apt-get install prometheus), 1 (this system has no fork)"
    )


TWO_SKIPPED = """
import pytest
@pytest.mark.parametrize("number", [1, 2])
def test_with_a_tool(number):
    pytest.skip("needs promtool: apt-get install prometheus")
def test_without():
    pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("processes", [(), ("-n", "2")])
def test_the_line_is_printed_once_however_many_processes_run(
    tmp_path: Path, processes: tuple[str, ...]
) -> None:
    lines = run(tmp_path, TWO_SKIPPED, *processes)
    said = [line for line in lines if line.startswith("skipped:")]
    assert said == ["skipped: 2 for want of promtool (apt-get install prometheus)"]


ODD_NAME = """
import logging, os
def test_logs():
    logging.warning(os.fsdecode(b"caf\\xe9"))
def test_fails():
    logging.warning(os.fsdecode(b"caf\\xe9"))
    assert not os.fsdecode(b"caf\\xe9")
"""


@pytest.mark.slow
def test_a_test_that_logs_what_is_no_utf_8_does_not_end_the_run(tmp_path: Path) -> None:
    lines = run(tmp_path, ODD_NAME, "-n", "2")
    assert lines[-1].startswith("1 failed, 1 passed"), lines


IN_TURNS = """
import os, pathlib, time
import pytest
HERE = pathlib.Path(__file__).parent
def run_for_a_while(name):
    (HERE / name).touch()
    others = 0
    for _ in range(20):
        others = max(others, len(list(HERE.glob("running-*"))) - 1)
        time.sleep(0.02)
    (HERE / name).unlink()
    return others
@pytest.mark.alone
@pytest.mark.parametrize("number", range(2))
def test_alone(number):
    assert run_for_a_while(f"running-alone-{number}") == 0
@pytest.mark.parametrize("number", range(6))
def test_among_others(number):
    if run_for_a_while(f"running-{number}"):
        (HERE / "together").touch()
"""


@pytest.mark.slow
def test_a_test_that_is_to_be_alone_meets_no_other_and_the_others_run_together(
    tmp_path: Path,
) -> None:
    lines = run(tmp_path, IN_TURNS, "-n", "3")
    assert lines[-1].startswith("8 passed"), lines
    assert (tmp_path / "together").exists()


REFUSED = """
import subprocess, sys
def test_an_import():
    import tensorflow as tf
def test_an_import_of_a_part():
    from keras import layers
def test_a_server():
    subprocess.run([sys.executable, "-m", "serving.local", "--help"])
def test_a_test_that_may_run():
    subprocess.run([sys.executable, "-m", "platform"], stdout=subprocess.DEVNULL)
"""


@pytest.mark.slow
def test_a_fast_run_refuses_tensorflow_and_what_imports_it(tmp_path: Path) -> None:
    lines = run(tmp_path, REFUSED, "-p", "tests.fast", "-n", "2")
    failed = sorted(line for line in lines if line.startswith("FAILED"))
    assert [line.partition("::")[2].partition(" ")[0] for line in failed] == [
        "test_a_server",
        "test_an_import",
        "test_an_import_of_a_part",
    ]
    told = "\n".join(lines)
    for what in ("python -m serving.local", "tensorflow", "keras"):
        assert f"{what} is refused: make test-fast runs without TensorFlow" in told
    assert "1 passed" in told


IN_TURN = """
import pytest
@pytest.mark.parametrize("number", [1, 2])
def test_it(number):
    pass
"""


@pytest.mark.slow
def test_the_files_that_took_longest_come_first_in_the_next_run(tmp_path: Path) -> None:
    (tmp_path / "test_long.py").write_text("import time\ndef test_it():\n    time.sleep(0.5)\n")
    run(tmp_path, IN_TURN, "-vv")
    lines = run(tmp_path, IN_TURN, "-vv")
    order = [line.partition(" ")[0] for line in lines if "::" in line]
    assert order == ["test_long.py::test_it", "test_it.py::test_it[1]", "test_it.py::test_it[2]"]


WAITS = """
import pytest, time
@pytest.fixture
def sample_run():
    time.sleep({seconds})
def test_it(sample_run):
    pass
"""


@pytest.mark.thorough
def test_one_process_alone_starts_with_what_others_would_wait_for(tmp_path: Path) -> None:
    for name, seconds in (("test_longest.py", 0.6), ("test_longer.py", 0.4)):
        (tmp_path / name).write_text(WAITS.format(seconds=seconds))
    run(tmp_path, IN_TURN, "-vv")
    lines = run(tmp_path, IN_TURN, "-vv")
    order = [line.partition("::")[0] for line in lines if "::" in line]
    assert order == ["test_longest.py", "test_it.py", "test_it.py", "test_longer.py"]
