"""What every command does the same way."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
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


def _png(*chunks: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    body = (b"IDAT", zlib.compress(b"\0\0"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in ((b"IHDR", header), *chunks, body, (b"IEND", b""))
    )


def _read(file: bytes) -> None:
    with PIL.Image.open(io.BytesIO(file)) as image:
        image.load()


def _with_a_large_profile() -> None:
    _read(_png((b"iCCP", b"icc\0\0" + zlib.compress(bytes(2_000_000)))))


def _with_a_broken_chunk() -> None:
    with PIL.Image.open(io.BytesIO(_png()[:-13] + b"?" + _png()[-12:])) as image:
        image.verify()


def _with_too_many_pixels() -> None:
    wide = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    _read(_png((b"IHDR", wide)))


def _no_picture() -> None:
    _read(b"no picture")


def _not_unicode() -> None:
    b"caf\xe9".decode()


def _no_name_in_utf_8() -> None:
    os.fsdecode(b"caf\xe9.png").encode()


def _disk_full() -> None:
    with Path("/dev/full").open("wb", buffering=0) as file:
        file.write(b"x")


def _too_long() -> None:
    Path("x" * 300).read_bytes()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (_with_a_large_profile, "a picture that Pillow reads. Received: ValueError: .*too large"),
        (_with_a_broken_chunk, "a picture that Pillow reads. Received: SyntaxError: broken PNG"),
        (_with_too_many_pixels, "a picture that Pillow reads. Received: DecompressionBombError"),
        (_no_picture, "cannot identify image file"),
        (_not_unicode, "text and names of files in UTF-8. Received: .*0xe9.*Rename the file"),
        (_no_name_in_utf_8, "text and names of files in UTF-8. Received: .*udce9.*Rename"),
        (_disk_full, "No space left on device. Make room there and run the same command again"),
        (lambda: np.empty(10**15), "enough memory. Received: Unable to allocate .* Take smaller"),
        (lambda: json.loads("[" * 10**5), "JSON of some hundred levels at most. .* Mend the file"),
        (_too_long, "File name too long: 'xxx.*'. Give a shorter path."),
    ],
)
def test_what_files_and_the_machine_do_is_one_line_and_exit_code_2(
    body: Callable, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.run("demo", body) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(words, said), said


def test_a_line_end_in_a_name_leaves_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> int:
        raise command_line.InputError("Received: a\nb\x1b[31m\udce9 ü.")

    assert command_line.run("demo", body) == 2
    assert capsys.readouterr().err == "demo: error: Received: a\\nb\\x1b[31m\\udce9 ü.\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_known(number: int) -> None:
    assert command_line.is_disk_full(OSError(number, os.strerror(number)))
    assert not command_line.is_disk_full(OSError(errno.EIO, "No space left on device"))
    assert not command_line.is_disk_full(ValueError(os.strerror(number)))


def test_knowing_the_libraries_errors_imports_none_of_them() -> None:
    code = (
        "import sys; from foundation import command_line\n"
        "def body(): raise OSError('too small')\n"
        "code = command_line.run('demo', body)\n"
        "sys.exit(code if {'tensorflow', 'PIL'}.isdisjoint(sys.modules) else 'imported')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, "demo: error: too small\n")


def test_a_bug_is_not_hidden() -> None:
    def body() -> int:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        command_line.run("demo", body)


def test_a_wrong_call_of_pillow_is_a_bug() -> None:
    with pytest.raises(TypeError):
        command_line.run("demo", lambda: PIL.Image.fromarray(np.zeros((2, 2, 7))))


def test_a_wrong_flag_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.Parser(prog="demo").parse_args(["--nope"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def _refusal(capsys: pytest.CaptureFixture[str], *typed: str) -> str:
    """What a command with flags and verbs says to a line that it refuses."""
    parser = command_line.Parser(prog="python -m demo")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--architecture", choices=("cnn", "cnn_batch_norm"))
    parser.add_argument("--at", action="append")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    verbs.add_parser("canary").add_argument("--force", action="store_true")
    verbs.add_parser("promote").add_argument("--if-better")
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(typed)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--epoks=3", "unrecognized arguments: --epoks=3. Did you mean --epochs?"),
        ("canary --froce", "unrecognized arguments: --froce. Did you mean --force?"),
        ("canary --if-beter x", "unrecognized arguments: --if-beter x"),
        ("promote --if-beter x", "--if-beter x. Did you mean --if-better?"),
        ("canry", "(choose from 'canary', 'promote'). Did you mean canary?"),
        ("--architecture CNN", "(choose from 'cnn', 'cnn_batch_norm'). Did you mean cnn?"),
        ("--architecture resnet", "(choose from 'cnn', 'cnn_batch_norm')"),
    ],
)
def test_what_is_unknown_comes_with_the_nearest_that_is_known(
    typed: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = _refusal(capsys, *typed.split())
    assert line.endswith(f"{said} (see python -m demo --help)")


def test_a_flag_of_the_parser_beside_may_be_meant(capsys: pytest.CaptureFixture[str]) -> None:
    beside = command_line.Parser()
    beside.add_argument("--p99-ms")
    with pytest.raises(SystemExit):
        command_line.Parser().parse_args(["--p99ms", "3"], beside=beside)
    assert "Did you mean --p99-ms?" in capsys.readouterr().err


def test_a_value_that_is_given_twice_is_refused_unless_it_is_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = _refusal(capsys, "--epochs", "3", "--epochs=4")
    assert "argument --epochs: expected once, received twice: 3 and 4" in line
    parser = command_line.Parser()
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--at", action="append")
    for epochs in "34":  # another command line is another matter
        again = ["--epochs", epochs, f"--epochs={epochs}", "--at", "1", "--at", "2"]
        assert parser.parse_args(again).at == ["1", "2"]


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_refusal_of_the_system_comes_with_what_to_do(number: int) -> None:
    text = command_line.explained(OSError(number, os.strerror(number), "data/a.png"))
    assert text is not None
    said, _, remedy = text.partition("'data/a.png'")
    assert os.strerror(number) in said
    assert len(remedy.strip(" .").split()) >= 3


def test_a_host_that_is_not_known_is_no_path(capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> int:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert command_line.run("train", body) == 2
    assert "Check the name of the host" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("out", "code", "said"),
    [("/dev/full", 1, "done, but its result could not be printed"), ("a pipe", 0, "")],
)
def test_a_result_that_does_not_arrive_is_told_unless_the_reader_had_enough(
    out: str, code: int, said: str
) -> None:
    program = (
        "import sys; from foundation.command_line import run\n"
        "def body(): print('a result'); sys.stdin.read(); return 0\n"
        "sys.exit(run('train', body))"
    )
    target = subprocess.PIPE if out == "a pipe" else os.open(out, os.O_WRONLY)
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        stdin=subprocess.PIPE,
        stdout=target,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        if process.stdout is not None:
            process.stdout.close()
            process.stdout = None
        else:
            os.close(target)
        _, err = process.communicate("")
    assert process.returncode == code
    assert err.strip() == "" if not said else said in err
    assert "Exception ignored" not in err


HOSTILE = "a\x1b[2Jb\x9b31mc\u202ed\re\x7f"
"""Escape sequences, also of eight bits; text from right to left; back to the line's start."""

ESCAPED = r"a\x1b[2Jb\x9b31mc\u202ed\re\x7f"


def test_a_log_line_is_one_line_without_control_characters() -> None:
    program = (
        "import logging; from foundation.command_line import configure_logging\n"
        "configure_logging(); log = logging.getLogger('x')\n"
        f"name = {HOSTILE!r} + '\\nE 00:00:00 x: forged'\n"
        "log.warning('%s', name)\n"
        "try: raise ValueError(name)\n"
        "except ValueError: log.exception('failed')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    first, *rest = ended.stderr.splitlines()
    assert first.endswith(rf"x: {ESCAPED}\nE 00:00:00 x: forged")
    assert any(ESCAPED in line for line in rest)
    assert all(one.isprintable() for line in (first, *rest) for one in line)


def test_what_is_said_keeps_its_lines_and_no_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command_line.say(f"one {HOSTILE}\ntwo → ü")
    assert capsys.readouterr().out == f"one {ESCAPED}\ntwo → ü\n"


def test_a_wrong_flag_is_told_without_its_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        command_line.Parser(prog="demo").parse_args([f"--nope{HOSTILE}"])
    assert f"unrecognized arguments: --nope{ESCAPED}" in capsys.readouterr().err


HELD = """
import os, signal, sys, time
from foundation import command_line

def body():
    with command_line.held_interrupts():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        print("went on", flush=True)
        if sys.argv[1] == "twice":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        if sys.argv[1] == "asked":
            command_line.raise_if_interrupted()
            print("not asked", flush=True)
    print("not told at the end", flush=True)

sys.exit(command_line.run("it", body))
"""


@pytest.mark.parametrize("when", ["asked", "twice", "at the end"])
def test_an_interrupt_that_is_held_waits_until_it_is_asked_for_or_comes_twice(when: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELD, when],
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "went on\n", "it: interrupted\n")
