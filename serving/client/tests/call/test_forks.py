"""Forks: which clients work in the child, and which are refused before gRPC ends the process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def test_a_client_that_was_used_before_a_fork_is_refused_and_others_work(server):
    script = textwrap.dedent(
        f"""
        import asyncio, os
        from tfs_client import AsyncClient, Client, ForkedClientError
        ask = dict(inputs={{"x": [1.0]}}, model="echo")
        client, other = Client("{server.target}"), AsyncClient("{server.target}")
        unused = Client("{server.target}", timeout_s=20)
        client.predict(**ask)
        child = os.fork()
        if not child:
            outcomes = []
            try:
                client.predict(**ask)
            except ForkedClientError as error:
                outcomes.append(str(error))
            outcomes.append(str(asyncio.run(other.predict(**ask))["x"]))  # its first call
            outcomes.append(str(unused.predict(**ask)["x"]))
            with Client("{server.target}", timeout_s=20) as new:
                outcomes.append(str(new.predict(**ask)["x"]))
            async def anew():
                async with AsyncClient("{server.target}", timeout_s=20) as new:
                    outcomes.append(str((await new.predict(**ask))["x"]))
            asyncio.run(anew())
            print(*outcomes, sep="\\n", flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print(client.predict(**ask)["x"])
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    refused, *answered = done.stdout.splitlines()
    assert "open one in each process, after the fork" in refused
    assert answered == ["[1.]"] * 5


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("how", ["", "hedge_after_s=5"], ids=["a call", "a hedged call"])
def test_a_fork_beside_a_call_is_refused_in_the_child_alone(server, how):
    """gRPC leaves its fork handlers out then: the child's calls end it, several times of eight."""
    honest = server.usual("Predict")

    def slow(request, context):
        time.sleep(1)
        return honest(request, context)

    server.handlers["Predict"] = slow
    done = run(
        f"""
        import os, threading, time
        from tfs_client import Client, ForkedClientError
        ask = dict(inputs={{"x": [1.0]}}, model="echo")
        client = Client("{server.target}", timeout_s=20, {how})
        unused = Client("{server.target}", timeout_s=20)
        client.metadata(model="echo")
        thread = threading.Thread(target=lambda: print(client.predict(**ask)["x"], flush=True))
        thread.start()
        time.sleep(0.4)
        child = os.fork()
        if not child:
            for one in (client, unused, Client("{server.target}", timeout_s=5)):
                try:
                    one.predict(**ask)
                except ForkedClientError as error:
                    print(error, flush=True)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        thread.join()
        print(client.predict(**ask)["x"], flush=True)
        child = os.fork()  # nothing is under way now
        if not child:
            print(Client("{server.target}", timeout_s=20).predict(**ask)["x"], flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        """
    )
    assert done.returncode == 0, done.stderr
    *refused, child, first, second, later = done.stdout.splitlines()
    assert len(refused) == 3
    assert all("forked while a call was under way in another thread" in one for one in refused)
    assert (child, first, second, later) == ("0", "[1.]", "[1.]", "[1.]")


def test_where_grpcs_fork_handlers_are_turned_off_the_child_is_refused(server):
    script = f"""
        import os
        from tfs_client import Client, ForkedClientError
        ask = dict(inputs={{"x": [1.0]}}, model="echo")
        Client("{server.target}", timeout_s=20).predict(**ask)
        child = os.fork()
        if not child:
            try:
                Client("{server.target}", timeout_s=5).predict(**ask)
            except ForkedClientError as error:
                print(error, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        """
    assert "with GRPC_ENABLE_FORK_SUPPORT=0" in run(script, GRPC_ENABLE_FORK_SUPPORT="0").stdout
    assert run(script).stdout == ""


def test_a_fork_beside_an_open_asyncio_client_is_refused_in_the_child_alone(server):
    """Depending on grpcio's version, a channel in the child would hang or end the process."""
    script = textwrap.dedent(
        f"""
        import asyncio, os
        from tfs_client import AsyncClient, Client, ForkedClientError
        ask = dict(inputs={{"x": [1.0]}}, model="echo")

        async def fresh():
            async with AsyncClient("{server.target}", timeout_s=5) as client:
                return (await client.predict(**ask))["x"]

        print(asyncio.run(fresh()), flush=True)
        loop, client = asyncio.new_event_loop(), AsyncClient("{server.target}", timeout_s=5)
        print(loop.run_until_complete(client.predict(**ask))["x"], flush=True)
        child = os.fork()
        if not child:
            other = Client("{server.target}", timeout_s=5)
            for call in (lambda: asyncio.run(fresh()), lambda: other.predict(**ask)):
                try:
                    call()
                except ForkedClientError as error:
                    print(error, flush=True)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        print(loop.run_until_complete(client.predict(**ask))["x"], flush=True)
        loop.run_until_complete(client.close())
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    first, second, refused, again, *rest = done.stdout.splitlines()
    assert first == second == "[1.]"
    assert refused == again
    assert "forked while an AsyncClient was open; close it before the fork" in refused
    assert rest == ["0", "[1.]"]
