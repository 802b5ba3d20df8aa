"""Locust's own page in a real browser: a test is started, watched and stopped there."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import websocket

from serving.client.tests.model_server import ModelServer
from tests.ports import free_ports

ROOT = Path(__file__).resolve().parents[3]

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)

pytestmark = pytest.mark.skipif(not BROWSER, reason="needs a browser: apt-get install chromium")


def eventually(
    check: Callable[[], Any],
    what: str,
    patience_s: float = 60.0,
    seen: Callable[[], str] = lambda: "",
) -> Any:
    deadline = time.monotonic() + patience_s
    while not (found := check()):
        assert time.monotonic() < deadline, f"{what}, in {seen()}"
        time.sleep(0.05)
    return found


class Browser:
    """A page, driven by Chromium's DevTools protocol."""

    def __init__(self, port: int):
        self._url = f"http://127.0.0.1:{port}/json"
        pages = eventually(self._pages, "a page")
        self._socket = websocket.create_connection(pages[0]["webSocketDebuggerUrl"], timeout=30)
        self._numbers = itertools.count(1)

    def _pages(self) -> Any:
        try:
            with urllib.request.urlopen(self._url, timeout=5) as answer:
                return [one for one in json.load(answer) if one["type"] == "page"]
        except OSError:
            return []

    def ask(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (found := json.loads(self._socket.recv())).get("id") != number:
            pass
        return found["result"]

    def evaluate(self, script: str) -> Any:
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        return found["result"].get("value")

    def text(self) -> str:
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def click(self, words: str) -> bool:
        """The button with these words; whether there is one."""
        script = (
            "[...document.querySelectorAll('button')].filter(one => one.innerText.trim()"
            f".toLowerCase() === '{words}' && !one.disabled).map(one => one.click()).length"
        )
        return bool(self.evaluate(script))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def page(server: ModelServer, pictures: Path, tmp_path: Path) -> Iterator[Browser]:
    """Locust's page, as `make loadtest-ui` serves it, in a browser."""
    web, debugging = free_ports(2)
    recipe = next(
        line for line in (ROOT / "Makefile").read_text().splitlines() if "--web-host" in line
    )
    arguments = recipe.split("python ")[1].replace("$(or $(TARGET),localhost:8500)", server.target)
    flags = arguments.replace("$(ARGS)", "").split()
    log = (tmp_path / "locust.log").open("w")
    locust = subprocess.Popen(
        [
            *(sys.executable, *flags, "--web-port", str(web), "--users", "3", "--spawn-rate", "3"),
            *("--images", str(pictures), "--samples", str(tmp_path / "samples.csv")),
        ],
        cwd=ROOT,
        stdout=log,
        stderr=log,
    )
    browser = None
    try:

        def serves() -> bool:
            assert locust.poll() is None, (tmp_path / "locust.log").read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{web}/", timeout=5).close()
            except OSError:
                return False
            return True

        eventually(serves, "Locust's page")
        browser = subprocess.Popen(
            [
                *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
                *("--disable-background-networking", "--remote-allow-origins=*"),
                *(f"--user-data-dir={tmp_path / 'browser'}", "--window-size=1300,1500"),
                *(f"--remote-debugging-port={debugging}", f"http://127.0.0.1:{web}/"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        driven = Browser(debugging)
        yield driven
        driven.close()
    finally:
        for process in filter(None, (browser, locust)):
            process.terminate()
            process.wait(30)
        log.close()


def row(page: Browser) -> list[str]:
    """The statistics of the signature, as they stand on the page."""
    script = """JSON.stringify([...document.querySelectorAll('tr')].map(
        row => [...row.querySelectorAll('td')].map(cell => cell.innerText.trim())
    ).filter(cells => cells.includes('serving_default'))[0] || [])"""
    return list(json.loads(page.evaluate(script) or "[]"))


def start(page: Browser, is_asked: Callable[[], bool]) -> None:
    """Clicks until requests come: a page that is not ready yet loses a click on its button."""

    def comes() -> bool:
        if not page.click("start") and not page.click("start swarming"):
            return is_asked()
        with contextlib.suppress(AssertionError):
            eventually(is_asked, "requests", patience_s=5.0)
        return is_asked()

    eventually(comes, "requests", seen=page.text)


@pytest.mark.thorough
def test_a_test_is_started_watched_stopped_and_started_again_on_the_page(
    page: Browser, server: ModelServer, tmp_path: Path
) -> None:
    eventually(lambda: "start new load test" in page.text().lower(), "the form")
    form = page.text().lower()
    assert "connection" not in form  # secrets and paths of ours stay off the page

    def asked() -> int:
        return len(server.asked("Predict"))

    for _ in range(2):
        before = asked()
        start(page, lambda before=before: asked() > before)
        found = eventually(
            lambda: (cells := row(page)) and int(cells[2].replace(",", "")) > 20 and cells,
            "requests in the table",
            seen=page.text,
        )
        # The page may still show the test before; its samples are another file's.
        eventually(lambda before=before: asked() > before + 40, "requests of this test")
        assert found[:2] == ["grpc", "serving_default"]
        assert found[3] == "0"
        assert eventually(lambda: float(row(page)[-2].replace(",", "")) > 0, "requests a second")
        eventually(lambda: page.click("stop"), "the button to stop it")
        eventually(lambda: page.click("new") or page.click("new test"), "the button for a new one")
    picture = page.ask("Page.captureScreenshot")["data"]
    assert len(picture) > 10_000
    rows = (tmp_path / "samples.csv").read_text().splitlines()
    assert 20 < len(rows) < asked()
