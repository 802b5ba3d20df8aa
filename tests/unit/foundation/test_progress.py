"""Where long work is: on a real terminal, in a pipe, with colour and without."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from foundation import progress, terminal
from foundation.progress import Progress
from tests import terminals

COUNTING = """
import time
from foundation import progress
for _ in progress.tracked(range(5), "counting a rather long list of things", unit="things"):
    time.sleep(0.12)
"""

LOGGING = """
import logging, time
from foundation import command_line, progress
command_line.configure_logging()
with progress.Progress("work", total=9, unit="steps") as shown:
    for step in range(3):
        shown.add()
        time.sleep(0.12)
        logging.getLogger("here").info("step %d is done", step)
        progress.say("said")
"""

IMPORTING = """
import sys, time
from foundation import progress
with progress.waiting("importing TensorFlow"):
    time.sleep({seconds})
print("ready", file=sys.stderr)
"""


@pytest.mark.parametrize("columns", [80, 40])
def test_one_line_renews_itself_within_the_terminal_and_is_gone_at_the_end(columns: int) -> None:
    code, written = terminals.python(COUNTING, columns=columns)
    assert code == 0, written
    assert "\n" not in written
    shown = terminals.frames(written)
    assert len(shown) >= 3
    assert all(len(frame) <= columns for frame in shown)
    begin = "counting a rather long list of" if columns == 80 else "0/5 counting a rather long list"
    assert shown[0].startswith(begin)
    if columns == 80:
        assert "4/5" in written
    assert written.rsplit("\r", 2)[1].strip() == ""  # taken away


@pytest.mark.slow
def test_a_log_line_stands_above_the_line_that_renews_itself() -> None:
    _, written = terminals.python(LOGGING)
    lines = [line.rpartition("\r")[2] for line in written.split("\r\n")]
    for step in range(3):
        assert any(line.endswith(f"here: step {step} is done") for line in lines)
    assert lines.count("said") == 3
    assert "work:" in written


def test_steps_are_named_one_after_the_other_with_their_counts() -> None:
    code = (
        "from foundation.progress import Progress\n"
        "with Progress('gate', unit='images') as shown:\n"
        "    shown.move(0, total=None, words='1 of 2: importing')\n"
        "    shown.move(3, total=9, words='2 of 2: asking')\n"
    )
    _, written = terminals.python(code)
    frames = terminals.frames(written)
    assert "gate: 1 of 2: importing" in frames
    assert frames[-1].startswith("gate: 2 of 2: asking:  33%")
    assert " 3/9 [00:0" in frames[-1]
    _, written = terminals.python(code, columns=40)
    assert all(len(frame) <= 40 for frame in terminals.frames(written))
    assert "3/9 gate: 2 of 2: asking" in written


def test_in_a_pipe_short_work_says_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COUNTING], capture_output=True, text=True, cwd=terminals.ROOT
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


class _Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_in_a_pipe_long_work_says_a_plain_line_every_ten_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = _Clock()
    with Progress("gate", total=20, unit="images", clock=clock) as shown:
        for _ in range(20):
            clock.now_s += 1.25
            shown.add()
        clock.now_s += 9
        shown.note("loss 0.5")
        shown.move(3, total=7, words="3 of 13: a\nb")
        clock.now_s += 10
        shown.move(0, total=None, words="4 of 13: hostile rows")
    assert capsys.readouterr().err.splitlines() == [
        "gate: 8 of 20 images",
        "gate: 16 of 20 images",
        r"gate: 3 of 13: a\nb: 3 of 7 images: loss 0.5",
        "gate: 4 of 13: hostile rows: loss 0.5",
    ]


def test_work_that_logs_its_steps_can_leave_the_plain_lines_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = _Clock()
    with Progress("tune", total=2, lines=False, clock=clock) as shown:
        clock.now_s = 100
        shown.add()
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_wait_of_more_than_a_second_is_shown_on_a_terminal_and_taken_away() -> None:
    _, written = terminals.python(IMPORTING.format(seconds=2.3))
    assert terminals.frames(written) == [
        "importing TensorFlow: 1 s",
        "importing TensorFlow: 2 s",
        "ready",
    ]
    _, written = terminals.python(IMPORTING.format(seconds=0.2))
    assert terminals.frames(written) == ["ready"]


@pytest.mark.slow
def test_a_wait_is_not_shown_in_a_pipe() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING.format(seconds=1.3)],
        capture_output=True,
        text=True,
        cwd=terminals.ROOT,
    )
    assert done.stderr == "ready\n"


FIGURES = """
import pathlib, sys, tempfile
from foundation.figures import Figures
made = Figures("demo", "demo")
made.add("good", 1, "s", at_most=2)
made.add("bad", 3, "s", at_most=2)
made.add("open", 1, "s", at_most=2, unknown=True)
made.write(pathlib.Path(tempfile.mkdtemp()))
"""


@pytest.mark.parametrize(
    ("environment", "colored"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_verdicts_are_in_colour_on_a_terminal_unless_it_is_refused(
    environment: dict[str, str], colored: bool
) -> None:
    _, written = terminals.python(FIGURES, environment=environment)
    for word, code in (("holds", 32), ("FAILS", 31), ("unknown", 33)):
        assert word in written
        assert (f"\x1b[{code}m{word}\x1b[0m" in written) is colored
    assert ("\x1b" in written) is colored


def test_a_pipe_has_no_colour_and_eighty_columns() -> None:
    file = io.StringIO()
    assert not terminal.has_color(file)
    assert terminal.judged("holds", file, 8) == "holds   "
    assert terminal.columns(file) == 80
    file.close()
    assert not terminal.is_terminal(file)
    with open(os.devnull) as null:  # noqa: PTH123
        assert terminal.columns(null) == 80


def test_of_several_texts_the_longest_that_fits_is_shown() -> None:
    code = (
        "import time\nfrom foundation.progress import Progress\n"
        "with Progress('x') as shown:\n"
        "    shown.show(['a' * 60, 'b' * 30, 'c' * 5])\n    time.sleep(0.2)\n"
    )
    for columns, letter in ((80, "a" * 60), (40, "b" * 30), (20, "c" * 5)):
        _, written = terminals.python(code, columns=columns)
        assert letter in terminals.frames(written)


def test_what_is_not_waited_for_by_anybody_costs_no_thread() -> None:
    import threading

    before = threading.active_count()
    with open(os.devnull, "w") as null, progress.waiting("x", null.fileno()):  # noqa: PTH123
        assert threading.active_count() == before
