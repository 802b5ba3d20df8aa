"""The client's README, run block by block against what `make serve` starts.

A trained model's answers differ from run to run and from machine to machine. So numbers with a
decimal point, counts of the benchmark and the two class names are compared by kind, all else to the
letter.
"""

from __future__ import annotations

import doctest
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "serving" / "client" / "README.md"
TARGET = "localhost:8500"

_MEASURED = (
    (re.compile(r"\b\d+\.\d+\b|\bnan\b"), "<number>"),
    (re.compile(r"\b(defective|sound)\b(?!\.png)"), "<class>"),
    (re.compile(r"(?m)^(requests|requests/s|rows/s) .*"), r"\1 <measured>"),
    (re.compile(r"(?m)^(latency, ms) .*"), r"\1 <measured>"),
    (re.compile(r"(?m)^(versions +1: )\d+"), r"\1<count>"),
    (re.compile(r"\b(yes|no)\b +(?=1 )"), "<review> "),
    (re.compile(r" +"), " "),
)


def compared(text: str) -> str:
    """The text with what is measured replaced by what it is."""
    for pattern, name in _MEASURED:
        text = pattern.sub(name, text)
    return text.strip()


class Checker(doctest.OutputChecker):
    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return super().check_output(compared(want) + "\n", compared(got) + "\n", optionflags)


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(sample_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader stands: the run's samples lie in runs/latest/samples."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "latest").symlink_to(sample_run)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_python_block_says_what_the_page_says(
    served: tuple, folder: Path, capsys: pytest.CaptureFixture
) -> None:
    source = "\n".join(blocks("pycon")).replace(TARGET, served[0])
    test = doctest.DocTestParser().get_doctest(source, {}, README.name, str(README), 0)
    assert len(test.examples) > 40
    runner = doctest.DocTestRunner(Checker(), optionflags=doctest.ELLIPSIS)
    outcome = runner.run(test, clear_globs=False)
    test.globs["client"].close()
    assert outcome.failed == 0, capsys.readouterr().out


def test_every_command_says_what_the_page_says(served: tuple, folder: Path) -> None:
    ran = 0
    for block in blocks("console"):
        for command, said in re.findall(r"^\$ (tfs .*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            words = shlex.split(command, comments=True)[1:]
            done = subprocess.run(
                [sys.executable, "-m", "tfs_client", *words, "--target", served[0]],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 0, done.stderr
            assert compared(done.stdout) == compared(said.replace(TARGET, served[0])), command
            ran += 1
    assert ran == 4
