"""A page as a real browser shows it: values under the pointer, light and dark, wide and narrow."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import matplotlib.figure
import pytest

from foundation.pages import page, palette, plots

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

ASK = """<script>
const drawings = [...document.querySelectorAll("figure.plot svg")];
const shown = drawings.find((one) => one.getBoundingClientRect().width > 0);
const box = shown.getBoundingClientRect();
shown.dispatchEvent(new PointerEvent("pointermove",
  { clientX: box.left + 0.5 * box.width, clientY: box.top + 0.5 * box.height }));
const box_of_values = document.querySelector(".values");
const values = box_of_values.innerText;
const fetched = performance.getEntriesByType("resource");
shown.dispatchEvent(new PointerEvent("pointerleave"));
parent.document.body.dataset.seen = JSON.stringify({
  values,
  hidden: box_of_values.hidden,
  kind: shown.getAttribute("class"),
  width: document.documentElement.scrollWidth,
  ground: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(shown.querySelector("text")).fill,
  fetched: fetched.filter((one) => !one.name.startsWith("data:")).length,
});
</script></body>"""


def rgb(color: str) -> str:
    return f"rgb({', '.join(str(int(color[at : at + 2], 16)) for at in (1, 3, 5))})"


def line() -> matplotlib.figure.Figure:
    figure, (axes,) = plots.panels(3)
    axes.plot([1, 2, 3], [10, 8530.4, 30], color=palette.BLUE, label="p50")
    axes.plot([1, 2, 3], [20, 9000, 50], color=palette.RED, label="p99")
    axes.set(xlabel="seconds", ylabel="ms")
    plots.style(axes)
    return figure


FRAME = """<!doctype html><meta name="color-scheme" content="light dark">
<body><iframe width="{width}" height="800" frameborder="0" srcdoc="{page}"></iframe></body>"""
"""A browser's own window is never as narrow as a phone."""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with a plot and a table that is too wide for a phone."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "template.html").write_text(
        '{% extends "base.html" %}{% block title %}A page{% endblock %}{% block body %}'
        "{{ plot | safe }}<table><tr>{% for at in range(30) %}<td>{{ at }}</td>{% endfor %}</tr>"
        "</table>{% endblock %}"
    )
    path = folder / "page.html"
    origin = page.origin("make a page with a command that is too long for a phone " + "x" * 200)
    page.write(path, folder / "template.html", origin=origin, plot=page.drawn("Two lines", line))
    path.write_text(path.read_text().replace("</body>", ASK))
    return path


def seen(path: Path, tmp_path: Path, width: int, flag: str) -> dict[str, Any]:
    """What a browser says of the page."""
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(width=width, page=html.escape(path.read_text())))
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("needs a browser: apt-get install chromium")
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path}", "--window-size=1200,900", flag, frame.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    found = re.search('data-seen="(.*?)"', done.stdout)
    assert found, done.stderr
    answer: dict[str, Any] = json.loads(html.unescape(found[1]))
    return answer


@pytest.mark.thorough
@pytest.mark.parametrize(("screen", "which"), [("light", 0), ("dark", 1)])
@pytest.mark.parametrize(("width", "kind"), [(1000, "wide"), (390, "narrow")])
def test_a_page_shows_values_in_the_readers_colours_without_fetching_anything(
    shown: Path, tmp_path: Path, screen: str, which: int, width: int, kind: str
) -> None:
    scheme = f"--blink-settings=preferredColorScheme={1 - which}"
    told = seen(shown, tmp_path, width, scheme)
    assert told["values"].split("\n") == ["2 seconds", "p50: 8,530 ms", "p99: 9,000 ms"]
    assert told["hidden"] is True
    assert told["kind"] == kind
    assert told["width"] <= width  # nothing but a table is moved sideways
    assert told["ground"] == rgb(palette.COLORS["ground"][which])
    assert told["ink"] == rgb(palette.COLORS["ink"][which])
    assert told["fetched"] == 0
