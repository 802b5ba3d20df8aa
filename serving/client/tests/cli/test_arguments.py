"""What tfs makes of its arguments and variables: mistakes are one line, and name what was meant."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time

import pytest

import tfs_client
from tfs_client.cli import main
from tfs_client.cli.parser import make_parser

VERBS = tuple(make_parser()[1])


@pytest.fixture(autouse=True)
def without_variables(monkeypatch):
    for name in ("TFS_TARGET", "TFS_MODEL"):
        monkeypatch.delenv(name, raising=False)


def refused(capsys, *arguments: str) -> str:
    """The one line that tfs says of a mistake, by argparse or by itself."""
    try:
        code = main(arguments)
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert (code, captured.out) == (2, "")
    return line


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"tfs {tfs_client.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predct"], "tfs: error: there is no command predct; did you mean predict?"),
        (["Status"], "tfs: error: there is no command Status; did you mean status?"),
        (["xyz"], "tfs: error: there is no command xyz; it has predict, metadata, status, "),
        (["--target", "x", "status"], "flags stand behind the command, as in tfs status --target"),
        (["predict", "a.png", "--lable", "x"], "there is no flag --lable; did you mean --label?"),
        (["status", "--targt=a:1"], "tfs status: error: there is no flag --targt; did you mean "),
        (["status", "--qqqq"], "there is no flag --qqqq (see tfs status --help)"),
        (["status", "now"], "received now, which it has no use for"),
        ([], "the following arguments are required: COMMAND"),
        (["completion", "tcsh"], "invalid choice: 'tcsh'"),
        (["predict", "a\x1b[2J.png", "--x\x1b[2J"], r"there is no flag --x\x1b[2J"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_unknown_names_the_nearest(arguments, said, capsys):
    assert said in refused(capsys, *arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--label", "a", "--label", "b"], "expected --label once, received it twice"),
        (["--target", "a:1", "--target=a:1"], "expected --target once"),
        (["--inputs", "{}", "--inputs", "{}"], "expected --inputs once"),
        (["--label", "a", "--latest"], "--latest: not allowed with argument --label"),
        (["--version", "1", "--latest"], "--latest: not allowed with argument --version"),
        (["--json", "--csv"], "--csv: not allowed with argument --json"),
        (["a.png", "--outputs", "y"], "Expected --inputs with --outputs. Received: --outputs with"),
        (["a.png", "--signature", "y"], "Expected --inputs with --signature"),
        (["--inputs", "{}", "--batch-size", "2"], "Expected images with --batch-size"),
        (["--inputs", "{}", "--concurrency", "2"], "Expected images with --concurrency"),
        (["--inputs", "{}", "--outputs", ""], "expected names with commas between them"),
        (["--inputs", "{}", "--outputs", "y,"], "expected names with commas between them"),
        (["--inputs", "{}", "--outputs", "y,y"], "expected each name once, received 'y' twice"),
        (["-", "-"], "Expected - once, for one image. Received: it twice"),
        (["-", "--inputs", "-"], "Expected images or --inputs. Received: both, - and --inputs"),
        (["a.png", "--model", ""], "Expected model as the servable's name"),
        (["a.png", "--target", ""], "Expected target as host:port"),
        (["a.png", "--label", ""], "Expected label as a name"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_twice_empty_and_in_conflict(arguments, said, as_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(as_file())
    assert said in refused(capsys, "predict", *arguments)


# ---- variables ----


def test_variables_stand_in_for_flags_and_a_flag_wins(server, monkeypatch, capsys, free_port):
    monkeypatch.setenv("TFS_TARGET", server.target)
    monkeypatch.setenv("TFS_MODEL", "echo")
    assert main(["metadata"]) == 0
    assert capsys.readouterr().out.startswith("echo version 1\n")
    assert main(["metadata", "--model", "image_classifier"]) == 0
    assert capsys.readouterr().out.startswith("image_classifier version 1\n")
    monkeypatch.setenv("TFS_TARGET", f"127.0.0.1:{free_port}")
    assert main(["metadata", "--target", server.target]) == 0
    assert main(["status"]) == 2
    assert capsys.readouterr().err.rstrip().endswith("(from TFS_TARGET)")


def test_a_variable_that_is_wrong_is_told(monkeypatch, capsys, server):
    for value in ("", "  "):
        monkeypatch.setenv("TFS_TARGET", value)
        assert "Received: it is set, and empty; give it a value, unset it, or say --target" in (
            refused(capsys, "status")
        )
        assert main(["status", "--target", server.target]) == 0  # it is not needed then
        capsys.readouterr()
    monkeypatch.setenv("TFS_TARGET", "nowhere")
    line = refused(capsys, "status")
    assert "Expected target as host:port" in line
    assert line.endswith("(from TFS_TARGET)")
    monkeypatch.setenv("TFS_TARGET", server.target)
    monkeypatch.setenv("TFS_MODEL", "e")
    assert refused(capsys, "status", "--model", "echoes").endswith("(from TFS_TARGET)")
    monkeypatch.setenv("TFS_MODEL", "no_such_model")
    assert "There is no model 'no_such_model' at " in (line := refused(capsys, "status"))
    assert line.endswith("(from TFS_TARGET and TFS_MODEL)")


@pytest.mark.parametrize("verb", ["predict", "metadata", "status", "wait-ready", "bench"])
def test_the_help_names_the_variables(verb, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    said = capsys.readouterr().out
    assert "host:port of gRPC (default: $TFS_TARGET, else localhost:8500)" in said
    assert "the model's name (default: $TFS_MODEL, else image_classifier)" in said


def test_a_client_in_a_program_reads_no_variables(monkeypatch, server, free_port):
    monkeypatch.setenv("TFS_TARGET", f"127.0.0.1:{free_port}")
    monkeypatch.setenv("TFS_MODEL", "no_such_model")
    with tfs_client.Client(server.target) as client:
        assert client.metadata().model == "image_classifier"


# ---- completion ----


def script_for(shell: str, capsys) -> str:
    pytest.importorskip("shtab", reason="needs shtab: pip install 'tfs-client[completion]'")
    assert main(["completion", shell]) == 0
    script: str = capsys.readouterr().out
    return script


def ran(shell: str, *arguments: str, script: str, cwd: object) -> list[str]:
    """The lines that a shell prints."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"needs {shell}: apt-get install {shell}")
    done = subprocess.run(
        [program, *arguments],
        input=script,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def of_bash(script: str, cwd: object, *words: str) -> list[str]:
    """What bash completes the last word to, as if a tabulator were pressed behind it."""
    line = " ".join(words)
    asked = f"""
{script}
COMP_WORDS=({" ".join(f'"{word}"' for word in words)})
COMP_CWORD={len(words) - 1}
COMP_LINE="{line}" COMP_POINT={len(line)}
function=$(complete -p tfs | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function tfs "{words[-1]}" "{words[-2]}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    return ran("bash", "--norc", "--noprofile", script=asked, cwd=cwd)


def test_bash_completes_commands_flags_choices_and_files(capsys, tmp_path):
    script = script_for("bash", capsys)
    (tmp_path / "cell.png").touch()
    (tmp_path / "roots.pem").touch()
    assert set(of_bash(script, tmp_path, "tfs", "")) >= set(VERBS)
    assert of_bash(script, tmp_path, "tfs", "wai") == ["wait-ready"]
    assert of_bash(script, tmp_path, "tfs", "predict", "--lat") == ["--latest"]
    assert of_bash(script, tmp_path, "tfs", "predict", "--outp") == ["--outputs"]
    assert of_bash(script, tmp_path, "tfs", "completion", "z") == ["zsh"]
    assert of_bash(script, tmp_path, "tfs", "predict", "ce") == ["cell.png"]
    assert of_bash(script, tmp_path, "tfs", "status", "--tls-roots", "ro") == ["roots.pem"]


def test_fish_completes_commands_and_flags(capsys, tmp_path):
    script = script_for("fish", capsys)
    (tmp_path / "tfs.fish").write_text(script)
    asked = """
source tfs.fish
complete -C "tfs wai" | string split -f1 \\t
complete -C "tfs predict --lat" | string split -f1 \\t
"""
    assert ran("fish", "--no-config", script=asked, cwd=tmp_path) == ["wait-ready", "--latest"]


def test_zsh_completes_commands_flags_choices_and_files(capsys, tmp_path):
    (tmp_path / "_tfs").write_text(script_for("zsh", capsys))
    (tmp_path / "cell.png").touch()
    program = shutil.which("zsh")
    if program is None:
        pytest.skip("needs zsh: apt-get install zsh")
    theirs, ours = pty.openpty()  # it completes for people alone
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "dumb"}
    with subprocess.Popen(
        [program, "-f", "-i"],
        **{"stdin": ours, "stdout": ours, "stderr": ours},
        cwd=tmp_path,
        env=environment,
        start_new_session=True,
    ) as shell:
        os.close(ours)
        ready = "fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -d ./dump; print re''ady\n"
        try:
            typed(theirs, ready, "ready")
            typed(theirs, "tfs wai\t", "tfs wait-ready ")
            typed(theirs, "\x15tfs predict --lat\t", "tfs predict --latest ")
            typed(theirs, "\x15tfs predict ce\t", "tfs predict cell.png ")
            typed(theirs, "\x15tfs completion f\t", "tfs completion fish ")
        finally:
            shell.kill()
    os.close(theirs)


def typed(terminal: int, keys: str, wanted: str) -> None:
    """Types, and waits until it is shown."""
    os.write(terminal, keys.encode())
    shown, deadline = "", time.monotonic() + 30
    while wanted not in shown:
        assert time.monotonic() < deadline, shown
        if select.select([terminal], [], [], 0.5)[0]:
            shown += os.read(terminal, 10_000).decode(errors="replace")


def test_without_shtab_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert "pip install 'tfs-client[completion]'" in refused(capsys, "completion", "bash")


def test_the_start_does_not_wait_for_it():
    script = (
        "import sys, tfs_client.cli.parser as p; p.make_parser(); print('shtab' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "False\n"
