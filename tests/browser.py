"""A page in a real browser: Chromium without a window, told what to do over a pair of pipes.

Its DevTools protocol comes over file descriptors as JSON, so that no library is needed. Chromium
and its profile live as long as the block:

    with browser.page(tmp_path) as page:
        page.open("http://localhost:8501/try")
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

ANSWER_S = 60.0
"""A machine that does other work starts Chromium slowly."""

_EXEC = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Chromium reads the protocol from descriptor 3 and writes it to 4."""


def program() -> str:
    """Chromium's path; skips the test where there is none."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    pytest.skip("needs Chromium: apt-get install chromium")


@contextlib.contextmanager
def page(folder: Path) -> Iterator[Page]:
    """Starts Chromium with an empty page.

    Args:
        folder: receives its profile and its log.
    """
    flags = ["--headless", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu"]
    flags += ["--hide-scrollbars", "--disable-extensions"]
    flags += ["--disable-dev-shm-usage", "--disable-background-networking", "--no-proxy-server"]
    flags += ["--disable-component-update", f"--user-data-dir={folder / 'profile'}"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")  # which root cannot have
    chromium = program()
    with contextlib.ExitStack() as closing:
        their_in, our_out = _pipe(closing)
        our_in, their_out = _pipe(closing)
        log = closing.enter_context((folder / "chromium.log").open("wb"))
        process = subprocess.Popen(
            [sys.executable, "-c", _EXEC, str(their_in), str(their_out), chromium, *flags],
            pass_fds=(their_in, their_out),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield Page(our_out, our_in)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _pipe(closing: contextlib.ExitStack) -> list[int]:
    """Both ends of a pipe, neither of them one of the first descriptors."""
    ends = []
    for end in os.pipe():
        ends.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10))
        os.close(end)
        closing.callback(os.close, ends[-1])
    return ends


class Page:
    """The one page of a browser."""

    def __init__(self, out: int, into: int) -> None:
        self._out, self._in = out, into
        self._received = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[tuple[str, dict[str, Any]]] = []
        """What the browser has told of itself: (name, parameters)."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "DOM", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command of the DevTools protocol and waits for its result."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            command["sessionId"] = self._session
        os.write(self._out, json.dumps(command).encode() + b"\0")
        deadline = time.monotonic() + ANSWER_S
        while True:
            message = self._message(deadline)
            if message.get("id") == self._number:
                assert "error" not in message, (method, message["error"])
                return message["result"]
            if "method" in message:
                self.events.append((message["method"], message["params"]))

    def _message(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "Chromium does not answer"
            piece = os.read(self._in, 2**16)
            assert piece, "Chromium has ended: see chromium.log"
            self._received += piece
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)

    def complaints(self) -> list[str]:
        """What the console shows as wrong: exceptions, and what a policy or a server forbade."""
        return [
            parameters.get("entry", parameters.get("exceptionDetails", {}))["text"]
            for name, parameters in self.events
            if name in ("Log.entryAdded", "Runtime.exceptionThrown")
        ]

    def open(self, address: str) -> None:
        """Opens an address and waits until it is loaded."""
        self.ask("Page.navigate", url=address)
        self.wait(f"location.href === {json.dumps(address)} && document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is, awaited where it is a promise."""
        found = self.ask(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, (expression, found["exceptionDetails"])
        return found["result"].get("value")

    def wait(self, expression: str) -> None:
        """Waits until a JavaScript expression is true."""
        deadline = time.monotonic() + ANSWER_S
        while not self.value(expression):
            seen = self.value("document.body.innerText")
            assert time.monotonic() < deadline, f"{expression} is not true of:\n{seen}"
            time.sleep(0.02)

    def wait_for(self, event: str) -> None:
        """Waits until the browser has told of an event."""
        deadline = time.monotonic() + ANSWER_S
        while event not in [name for name, _ in self.events]:
            assert time.monotonic() < deadline, f"no {event}"
            self.value("0")
            time.sleep(0.02)

    def text(self, element: str) -> str:
        """What a person reads of the element with this id; empty where it is hidden."""
        return self.value(f"document.getElementById({json.dumps(element)}).innerText.trim()")

    def choose(self, element: str, *files: Path) -> None:
        """Chooses files in an input, as its dialogue does."""
        found = self.ask("Runtime.evaluate", expression=f"document.getElementById('{element}')")
        self.ask(
            "DOM.setFileInputFiles",
            objectId=found["result"]["objectId"],
            files=[str(file) for file in files],
        )

    def drop(self, element: str, *files: Path) -> None:
        """Drags files over an element and drops them there."""
        x, y = self.value(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
            f"(document.getElementById('{element}').getBoundingClientRect())"
        )
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.ask("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def click(self, selector: str) -> None:
        """Clicks on an element, as a person does."""
        x, y = self.value(f"""(() => {{
          const found = document.querySelector({json.dumps(selector)});
          found.scrollIntoView({{ block: "center" }});
          const {{ x, y, width, height }} = found.getBoundingClientRect();
          return [x + width / 2, y + height / 2];
        }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def pasted(self) -> str:
        """The text on the clipboard, pasted into a field that is added to the page."""
        self.value("""(() => {
          const field = document.createElement("textarea");
          document.body.append(field);
          field.focus();
        })()""")
        paste = {"key": "v", "code": "KeyV", "windowsVirtualKeyCode": 86, "modifiers": 2}
        self.ask("Input.dispatchKeyEvent", type="keyDown", commands=["paste"], **paste)
        return self.value("document.activeElement.value")

    def press(self, key: str, code: int) -> None:
        """Presses a key: its name, and its number in Windows."""
        text = {"Enter": "\r"}.get(key, "")
        for kind in ("keyDown" if text else "rawKeyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                text=text,
            )

    def look(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Sets the width of the window, in CSS pixels, and which colours the person prefers."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path) -> None:
        """Writes the whole page as PNG."""
        taken = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))
