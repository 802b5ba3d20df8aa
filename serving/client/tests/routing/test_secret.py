"""Pseudonyms that nobody finds out by trying keys, and who may read what holds them."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys

import pytest

from tfs_client import ExposureLog, RequestError, Router, ShadowLog
from tfs_client.routing import secret as secrets

from .dealing import EXPOSURE, Deck

WEIGHTS = {"stable": 1, "canary": 1}


def unit(secret=None, key="customer-17", **settings) -> str:
    return Router(WEIGHTS, experiment="e", secret=secret, **settings).assign(key).unit


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_unit_cannot_be_computed_from_the_key():
    """As it could: H(n("unit") + n(experiment) + key), for every number of a customer."""
    framed = b"".join(len(x).to_bytes(4, "big") + x for x in (b"unit", b"e"))
    guessed = {
        hashlib.blake2b(framed + f"customer-{n}".encode()).hexdigest()[:16] for n in range(100)
    }
    units = {unit(), unit(), unit(bytes(16)), unit(bytes(17))}
    assert len(units) == 4  # without a secret, each router has one of its own
    assert not units & guessed
    assert unit(bytes(16)) == unit(bytes(16))


def test_the_labels_do_not_depend_on_the_secret():
    one, other = (Router(WEIGHTS, experiment="e", secret=bytes(n)) for n in (16, 32))
    assert [one.assign(n).label for n in range(99)] == [other.assign(n).label for n in range(99)]


def test_the_secret_stays_while_weights_change_and_in_the_split_of_a_file(tmp_path):
    router = Router(WEIGHTS, experiment="e", secret=bytes(16))
    before = router.assign("ada").unit
    router.kill("canary")
    router.set_weights({"stable": 5, "canary": 1})
    router.revive()
    assert router.assign("ada").unit == before
    deck = Deck(tmp_path / "split.json")
    following = Router.from_file(deck.path, poll_s=0, secret=bytes(16))
    assert following.assign("ada").unit == before
    deck.write(weights={"stable": 3, "canary": 1})
    assert following.assign("ada").unit == before


def test_a_log_keeps_a_secret_that_its_processes_and_their_successors_share(tmp_path):
    path = tmp_path / "exposures.jsonl"
    with ExposureLog(path) as log, ExposureLog(path) as of_another_process:
        first = unit(on_exposure=log)
        assert unit(on_exposure=of_another_process) == first
    with ExposureLog(path) as log:
        assert unit(on_exposure=log) == first
        assert log.secret_path == tmp_path / ".exposures.jsonl.secret"
        assert mode(log.secret_path) == 0o600
        log.secret_path.unlink()
        assert unit(on_exposure=log) != first
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        *(".exposures.jsonl.secret", "exposures.jsonl")
    ]


RACE = """
import sys
from tfs_client import Router
sys.stdin.readline()
print(Router({"stable": 1}, experiment="e", secret=sys.argv[1]).assign("ada").unit)
"""


def test_processes_that_make_the_file_at_the_same_time_get_the_same_secret(tmp_path):
    command = [sys.executable, "-c", RACE, str(tmp_path / "secret")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    racing = [subprocess.Popen(command, **pipes) for _ in range(4)]
    for one in racing:
        one.stdin.write("go\n")
        one.stdin.flush()
    assert len({one.communicate(timeout=30)[0] for one in racing}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_a_secret_may_be_bytes_or_a_file(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(b"0123456789abcdef\n")
    assert unit(path) == unit(str(path)) == unit(b"0123456789abcdef")
    assert path.read_bytes() == b"0123456789abcdef\n"


@pytest.mark.parametrize("wrong", [b"hush", 17, "", [b"hush"]], ids=repr)
def test_what_is_no_secret_is_refused_and_not_quoted(wrong):
    with pytest.raises(RequestError, match=r"Expected .*secret.* Received: ") as caught:
        unit(wrong)
    assert "hush" not in str(caught.value)


def test_a_file_that_cannot_be_made_or_is_too_short_is_refused(tmp_path):
    with pytest.raises(RequestError, match=r"Expected a file with a secret.*No such file"):
        unit(tmp_path / "nowhere" / "secret")
    (tmp_path / "short").write_text("hush")
    with pytest.raises(RequestError, match=r"at least 16 bytes.*short of 4 bytes") as caught:
        unit(tmp_path / "short")
    assert "hush" not in str(caught.value)


def test_exposures_that_go_elsewhere_without_a_secret_are_told(caplog):
    unit(on_exposure=print)
    assert "units are other ones in each process" in caplog.text
    caplog.clear()
    unit(bytes(16), on_exposure=print)
    unit()
    assert caplog.text == ""


def test_no_repr_shows_the_secret():
    router = Router(WEIGHTS, experiment="e", secret=b"hush-hush-hush-hush")
    shown = f"{router!r} {router.split!r} {router.split}"
    assert "hush" not in shown
    assert secrets.hash_key(b"hush-hush-hush-hush").hex() not in shown
    assert repr(secrets.hash_key(b"hush-hush-hush-hush"))[2:-1] not in shown


@pytest.mark.skipif(os.name != "posix", reason="needs modes of files")
def test_logs_are_for_their_owner_alone(tmp_path, caplog):
    for kind in (ExposureLog, ShadowLog):
        path = tmp_path / f"{kind.__name__}.jsonl"
        before = os.umask(0)
        try:
            with kind(path) as log:
                log(EXPOSURE)
        finally:
            os.umask(before)
        assert mode(path) == 0o600
        assert json.loads(path.read_text())["request_id"] == "r-1"
        assert caplog.text == ""
        path.chmod(0o644)  # somebody's decision, or an older version's file: told, and kept
        kind(path).close()
        assert mode(path) == 0o644
        assert f"{path} can be read by everybody" in caplog.text
        caplog.clear()
