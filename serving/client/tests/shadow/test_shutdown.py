"""Draining, closing, event loops that end, and forks."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import textwrap
import threading
import warnings

import pytest

from tfs_client import AsyncClient, Client, RequestError, Servable, Shadow

from .asking import CANARY, ask, eventually


def test_a_drain_gives_up_what_takes_longer_and_tells_nobody_later(client, shadow, held, told):
    ask(client, shadow)
    ask(client, shadow)
    assert shadow.drain(timeout_s=0.05) == 2
    assert (shadow.under_way, shadow.counts) == (0, {"given_up": 2})
    held.let_go.set()
    client.close()
    eventually(lambda: not mirror_threads())
    assert told == []
    assert shadow.counts == {"given_up": 2}


def test_what_was_given_up_is_told_nobody_when_it_is_answered_after_all(client, shadow, held, told):
    ask(client, shadow)
    (mirror,) = shadow.mirrors
    assert shadow.drain(timeout_s=0) == 1
    shadow.conclude(mirror, RuntimeError("late"))
    assert (told, shadow.counts) == ([], {"given_up": 1})


def test_a_shadow_whose_own_client_was_closed_is_given_up(
    server, make_server, open_client, make, told
):
    client, there = open_client(server.target), open_client(make_server().target)
    shadow = make(Servable(model="echo", client=getattr(there, "wrapped", there)))
    ask(there, None)
    there.close()
    assert ask(client, shadow).version == 1
    assert shadow.drain() == 0
    assert (told, shadow.counts) == ([], {"given_up": 1})


def mirror_threads():
    return [one for one in threading.enumerate() if one.name.startswith("tfs-shadow")]


def test_closing_the_client_gives_up_its_mirrors_and_leaves_no_thread(
    server, open_client, shadow, held, told
):
    client, other = open_client(server.target), open_client(server.target)
    ask(client, shadow)
    ask(other, shadow)
    client.close()
    assert (shadow.under_way, shadow.counts) == (1, {"given_up": 1})
    held.let_go.set()
    assert shadow.drain() == 0
    assert shadow.counts == {"given_up": 1, "compared": 1}
    other.close()
    eventually(lambda: not mirror_threads())
    assert len(told) == 1


def test_mirrors_end_with_the_loop_and_no_task_is_destroyed(server, held, told):
    shadow = Shadow(CANARY, share=1, on_comparison=told.append, timeout_s=60)

    async def closed():
        async with AsyncClient(server.target, timeout_s=5) as client:
            await ask(client, shadow)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def left_open():
        client = AsyncClient(server.target, timeout_s=5)
        await ask(client, shadow)
        return client

    async def drained():
        async with AsyncClient(server.target, timeout_s=5) as client:
            await ask(client, shadow)
            with pytest.raises(RequestError, match="await drain_async"):
                shadow.drain()
            assert await asyncio.wait_for(shadow.drain_async(0.05), 10) == 1
            held.let_go.set()
            await ask(client, shadow)
            assert await shadow.drain_async() == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(closed())
        assert shadow.counts == {"given_up": 1}
        client = asyncio.run(left_open())
        assert shadow.under_way == 0
        asyncio.run(drained())
        asyncio.run(client.close())
        gc.collect()
    assert shadow.counts == {"given_up": 3, "compared": 1}
    assert len(told) == 1


def test_a_shadow_of_one_call_leaves_no_thread_behind(server):
    with Client(server.target, timeout_s=5) as client:
        for _ in range(3):
            told = threading.Event()
            ask(client, Shadow(CANARY, share=1, on_comparison=lambda _: told.set()))  # noqa: B023
            assert told.wait(10)

        def gone():
            gc.collect()
            return not mirror_threads()

        eventually(gone)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_after_a_fork_both_sides_mirror_and_write(server, tmp_path):
    script = textwrap.dedent(
        f"""
        import os, signal, sys, threading, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from tfs_client import Client, Servable, Shadow, ShadowLog
        log = ShadowLog(sys.argv[1])
        shadow = Shadow(Servable(model="echo", label="canary"), share=1, on_comparison=log)
        def ask(client, who):
            client.predict(
                {{"x": [1.0]}}, model="echo", label="stable", shadow=shadow, request_id=who
            )
        client = Client("{server.target}", timeout_s=20)
        ask(client, "before")
        shadow.drain(20)
        done, held = threading.Event(), threading.Event()
        def hold():
            with shadow._lock, shadow.mirrors._lock, log._lock:
                held.set()
                done.wait()
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        child = os.fork()
        if not child:
            signal.alarm(20)
            assert shadow.counts == {{}}
            with Client("{server.target}", timeout_s=20) as mine:
                ask(mine, "child")
                assert shadow.drain(20) == 0
            assert shadow.counts == {{"compared": 1}}
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        done.set()
        thread.join()
        ask(client, "parent")
        assert shadow.drain(20) == 0
        assert shadow.counts == {{"compared": 2}}
        client.close()
        sys.exit(os.waitstatus_to_exitcode(status))
        """
    )
    path = tmp_path / "shadow.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    ids = [json.loads(line)["request_id"] for line in path.read_text().splitlines()]
    assert ids == ["before", "child", "parent"]
