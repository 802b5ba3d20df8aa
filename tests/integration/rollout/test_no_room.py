"""A change that was made, and could not be written down; and a rollback on a disk that is full."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.fleet.config_file import ConfigFile
from serving.rollout.journal import Journal
from serving.rollout.states import State
from tests.environments import ROOT
from tests.integration.line_server import LineServer, config
from tests.integration.rollout.rollout_fixtures import HEADER, START, Operator, answering

ON_TRIAL = config(1, 2, labels={"stable": 1, "canary": 2})
PROMOTED = config(1, 2, labels={"stable": 2, "canary": 2, "previous": 1})


@pytest.fixture
def server() -> Iterator[LineServer]:
    light = LineServer((1, 2, 3), START)
    yield light
    light.stop()


@pytest.fixture
def operator(server: LineServer, tmp_path: Path) -> Operator:
    return Operator(tmp_path, [server])


def history_of(operator: Operator) -> Path:
    return operator.config.with_name("models.config.history.jsonl")


@pytest.mark.parametrize("verb", ["canary 2", "promote", "rollback", "retire 3", "apply"])
def test_a_change_that_could_not_be_written_down_is_done_and_not_refused(
    server: LineServer, operator: Operator, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if verb != "canary 2":
        versions = (1, 2, 3) if verb == "retire 3" else (1, 2)
        text = config(*versions, labels={"stable": 1, "canary": 2})
        operator.config.write_text(HEADER + text)
        server.reload(text)
    history_of(operator).mkdir()
    assert operator(verb) == 1
    said = capsys.readouterr().err
    assert "python -m serving.rollout: Done, " in said
    assert "not written down in the history" in said
    assert '"outcome": "done"' in said
    now = operator.state()
    assert answering(server, "stable") == now.stable
    # With the mend, the same command again only writes it down.
    history_of(operator).rmdir()
    assert operator(verb) == 0
    assert operator.state() == now
    assert [change.outcome for change in operator.history()][-1] == "done"
    assert operator.pending() is None


def test_a_change_that_could_not_be_printed_is_done(operator: Operator) -> None:
    command = [sys.executable, "-m", "serving.rollout", *operator.arguments("canary 2")]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ended.returncode == 1
    assert "Done, version 2 is on trial beside 1; but it could not be printed" in ended.stderr
    assert "Exception ignored" not in ended.stderr
    assert operator.state().canary == 2


ON_A_FULL_DISK = """
set -e
mount -t tmpfs -o size=48k none "$1"
cd "$1"
cp ../models.config .
cp ../.models.config.pending.json . 2> /dev/null || true
cp ../touched .models.config.lock
: > models.config.history.jsonl
head -c 1M /dev/zero > filler || true
cd "$2"
mount -o "remount,$3" "$1"
shift 3
set +e
"$@"
echo "exit=$?"
cat "$OLDPWD/models.config"
mount -o remount,rw "$OLDPWD"
rm "$OLDPWD/filler"
"$@" >&2
cat "$OLDPWD/models.config.history.jsonl"
"""
"""In a mount namespace of its own: a small disk, filled to the last page."""


def on_a_full_disk(
    operator: Operator, verb: str, how: str = "rw"
) -> tuple[int, str, str, list[str]]:
    """Runs a verb where there is no room, and again where there is.

    Args:
        operator: with the models.config to begin from.
        verb: of the command line.
        how: "rw", or "ro" for a disk that takes no writing at all.

    Returns:
        Of the first: the exit code, what models.config says then, what was said; and the outcomes
        in the history after the second.
    """
    folder = operator.config.parent
    (folder / "touched").touch()
    disk = folder / "disk"
    disk.mkdir()
    arguments = operator.arguments(verb)
    arguments[arguments.index("--config") + 1] = str(disk / "models.config")
    ended = subprocess.run(
        [
            *("unshare", "--user", "--map-root-user", "--mount"),
            *("sh", "-c", ON_A_FULL_DISK, "sh", str(disk), str(ROOT), how),
            *(sys.executable, "-m", "serving.rollout", *arguments),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    before, _, after = ended.stdout.partition("exit=")
    code, _, rest = after.partition("\n")
    text = rest.partition("\n{")[0]
    outcomes = [json.loads(line)["outcome"] for line in rest.splitlines() if line.startswith("{")]
    return int(code), text, ended.stderr + before, outcomes


needs_namespaces = pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "true"],
        check=False,
        capture_output=True,
    ).returncode
    != 0,
    reason="needs unshare, and the right to make user namespaces (a disk of the test's own)",
)


@needs_namespaces
def test_a_rollback_on_a_full_disk_is_done_in_the_file_and_at_the_servers(
    server: LineServer, operator: Operator
) -> None:
    operator.config.write_text(HEADER + PROMOTED)
    server.reload(PROMOTED)
    code, text, said, outcomes = on_a_full_disk(operator, "rollback")
    assert code == 1, said
    assert "python -m serving.rollout: Done, stable is 1 again; but it is not written down" in said
    assert "No space left on device" in said
    assert "Make room" in said
    assert "What would have been written is above." in said
    assert '"verb": "rollback"' in said
    operator.config.write_text(text)
    assert operator.state() == State(
        versions=(1, 2), labels={"canary": 1, "previous": 1, "stable": 1}
    )
    assert text.startswith(HEADER)
    assert answering(server, "stable") == 1
    assert outcomes == []  # nothing was noted: the same again has nothing to go back to


@needs_namespaces
def test_a_rollback_where_the_file_cannot_be_written_still_tells_the_servers(
    server: LineServer, operator: Operator
) -> None:
    operator.config.write_text(HEADER + PROMOTED)
    server.reload(PROMOTED)
    code, text, said, outcomes = on_a_full_disk(operator, "rollback", "ro")
    assert code == 1, said
    assert "stable is 1 again, at 1 of 1 servers; but " in said
    assert "a server that polls it, or starts, takes back what it says" in said
    assert "Take a place that can be written to" in said
    assert text.strip() == (HEADER + PROMOTED).strip()
    assert answering(server, "stable") == 1
    assert outcomes == ["done"]  # and the same command again writes the file, too


@needs_namespaces
def test_what_a_killed_command_left_is_undone_and_not_called_nothing(
    server: LineServer, operator: Operator
) -> None:
    operator.config.write_text(HEADER + START)
    assert operator("canary 2") == 0
    (change,) = operator.history()
    Journal(ConfigFile(operator.config)).begin(dataclasses.replace(change, id="killed"))
    code, text, said, outcomes = on_a_full_disk(operator, "canary 3")
    assert code == 1, said
    assert "canary 2 is undone; but it is not written down" in said
    operator.config.write_text(text)
    assert operator.state() == State(versions=(1,), labels={"stable": 1})
    assert outcomes == ["undone", "done"]


@needs_namespaces
@pytest.mark.parametrize("verb", ["canary 3", "promote"])
def test_a_change_on_a_full_disk_is_refused_with_what_to_do(
    server: LineServer, operator: Operator, verb: str
) -> None:
    operator.config.write_text(HEADER + ON_TRIAL)
    server.reload(ON_TRIAL)
    code, text, said, outcomes = on_a_full_disk(operator, verb)
    assert code == 2, said
    assert "Make room" in said
    assert text.strip() == (HEADER + ON_TRIAL).strip()
    assert answering(server, "stable") == 1 or outcomes == ["done"]
    assert outcomes == ["done"]
