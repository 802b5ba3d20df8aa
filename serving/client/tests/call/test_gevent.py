"""gevent: gRPC blocks all greenlets unless its own mode is on, and the client says so."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap
import time
import types
import warnings

import pytest

from tfs_client.background import greenlets

SCRIPT = """
import warnings
from gevent import monkey
monkey.patch_all()
import gevent
{mode}
from tfs_client import Client

turns = 0

def turn():
    global turns
    while True:
        turns += 1
        gevent.sleep(0.01)

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    client = Client("{target}", timeout_s=20, check_inputs=False)
    turning = gevent.spawn(turn)
    gevent.sleep(0.05)
    before = turns
    print(client.predict({{"x": [1.0]}}, model="echo")["x"], turns - before)
    told = [str(one.message) for one in caught if one.category is RuntimeWarning]
    print(len(told), *told)
turning.kill()
client.close()
"""

MODE = "import grpc.experimental.gevent; grpc.experimental.gevent.init_gevent()"


@pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="needs gevent")
@pytest.mark.parametrize("mode", ["", MODE], ids=["usual mode", "gevent mode"])
def test_a_call_that_blocks_every_greenlet_is_told(server, mode):
    honest = server.usual("Predict")

    def slow(request, context):
        time.sleep(0.5)
        return honest(request, context)

    server.handlers["Predict"] = slow
    script = textwrap.dedent(SCRIPT).format(mode=mode, target=server.target)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    answer, told = done.stdout.splitlines()
    assert answer.startswith("[1.] ")
    turns = int(answer.split()[1])
    if mode:
        assert turns > 10
        assert told == "0"
    else:
        assert turns == 0
        assert told.startswith("1 Expected gRPC to let other greenlets run. Received: ")
        assert "init_gevent() after patching, before the first client" in told


def test_eventlet_which_grpc_does_not_know_is_told_too(monkeypatch):
    patcher = types.SimpleNamespace(is_monkey_patched=lambda module: module == "socket")
    monkeypatch.setitem(sys.modules, "eventlet.patcher", patcher)
    with pytest.warns(RuntimeWarning, match="sockets patched by eventlet.* use threads"):
        greenlets.warn_if_calls_block()


def test_without_them_nothing_is_told():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        greenlets.warn_if_calls_block()
