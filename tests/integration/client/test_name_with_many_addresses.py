"""Calls go round all addresses of a name, as behind a headless Service.

The name is in a hosts file of the test. Only the process started here sees it, because it runs in a
mount namespace of its own, which needs root.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

SCRIPT = """
import asyncio
from serving.client.tests.model_server import ModelServer
from tfs_client import AsyncClient, Client

ask = dict(inputs={"x": [1.0]}, model="echo")
first = ModelServer(host="127.0.0.1")
second = ModelServer(port=first.port, host="127.0.0.2")
target = f"dns:///models.test:{first.port}"

before = [0, 0]

def counts():
    global before
    now = [len(server.asked("Predict")) for server in (first, second)]
    found, before = [after - was for after, was in zip(now, before)], now
    return found

async def many():
    async with AsyncClient(target) as client:
        for _ in range(60):
            await client.predict(**ask)

asyncio.run(many())
print(*counts())
with Client(target) as client:
    for _ in range(60):
        client.predict(**ask)
    print(*counts())
    second.stop()
    for _ in range(60):
        client.predict(**ask)
    print(*counts())
first.stop()
"""


LATER = """
import asyncio, sys, time
from serving.client.tests.model_server import ModelServer
from tfs_client import AsyncClient, Client

ask = dict(inputs={"x": [1.0]}, model="echo", timeout_s=5)
first = ModelServer(host="127.0.0.1")
second = ModelServer(port=first.port, host="127.0.0.2")
target = f"dns:///models.test:{first.port}"

before = 0

def counts():
    return [len(first.asked("Predict")), len(second.asked("Predict")) - before]

async def go_on(client):
    end = time.monotonic() + 4
    while not counts()[1] and time.monotonic() < end:
        await client.predict(**ask)
        await asyncio.sleep(0.02)

async def main():
    async with AsyncClient(target, renew_s=0.5) as client:
        await client.predict(**ask)
        with open("/etc/hosts", "a") as hosts:
            hosts.write("127.0.0.2 models.test\\n")
        await go_on(client)

with Client(target) as never, Client(target, renew_s=0.5) as often:
    never.predict(**ask)
    often.predict(**ask)
    asyncio.run(main())
    print(*counts())
    before = len(second.asked("Predict"))
    for _ in range(30):
        never.predict(**ask)
    print(*counts())
    end = time.monotonic() + 4
    while not counts()[1] and time.monotonic() < end:
        often.predict(**ask)
        time.sleep(0.02)
    print(*counts())
first.stop()
second.stop()
"""


def run_with_hosts(tmp_path: Path, hosts_text: str, script_text: str) -> list[list[int]]:
    """The numbers that a script prints, line by line, run with a hosts file of its own."""
    hosts, script = tmp_path / "hosts", tmp_path / "script.py"
    hosts.write_text(hosts_text)
    script.write_text(textwrap.dedent(script_text))
    mount = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"']
    try:
        able = subprocess.run([*mount, str(hosts), "true"], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs unshare: apt-get install util-linux")
    if able.returncode:
        pytest.skip("needs a mount namespace: run as root")
    done = subprocess.run(
        [*mount, str(hosts), sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [[int(count) for count in line.split()] for line in done.stdout.splitlines()]


def test_calls_go_round_all_addresses_of_a_name_and_round_one_that_died(tmp_path: Path) -> None:
    hosts = "127.0.0.1 localhost\n127.0.0.1 models.test\n127.0.0.2 models.test\n"
    asynchronous, threads, after = run_with_hosts(tmp_path, hosts, SCRIPT)
    for counts in (asynchronous, threads):
        assert sum(counts) == 60
        assert min(counts) >= 20, counts
    assert after == [60, 0]


def test_an_address_that_appears_later_is_seen_where_the_channel_is_made_anew(
    tmp_path: Path,
) -> None:
    hosts = "127.0.0.1 localhost\n127.0.0.1 models.test\n"
    asynchronous, never, often = run_with_hosts(tmp_path, hosts, LATER)
    assert asynchronous[1] > 0
    assert never[1] == 0
    assert often[1] > 0
