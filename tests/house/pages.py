"""What every page of the project must be; `faults` names what one is not."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

RAW = ("code", "pre", "script", "style")
"""Elements that show what a program said, as it said it."""

NO_CLOSING = ("meta", "link", "br", "img", "hr", "input")

ODD_NUMBERS = re.compile(
    r"\b(?:nan|None|True|False|inf)\b"
    r"|(?<![\w-])\d[\d.,]*[eE][+-]?\d+\b"  # 8.53e+03, but not the name of a run
    r"|(?<![\w.,])\d{5,}(?:\.\d+)?(?=\s*(?:ms|s|%|requests|images|µs|MB)\b)"  # 85300 ms
    r"|(?<![\w.(])(?<!to )-\d[\d.,]*\s*%(?!\s*\()"  # a share below 0, but no difference or bound
    r"|\d\.\d{7,}"  # 0.30000000000000004
)

FETCHES = re.compile(r"\b(?:fetch|import|XMLHttpRequest|WebSocket|sendBeacon|importScripts)\s*\(")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.titles: list[str] = []
        self.plots: list[dict[str, str | None]] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in NO_CLOSING:
            self.open.append(tag)
        attributes = dict(attrs)
        self._addresses(tag, attributes)
        if tag == "img" and not attributes.get("alt"):
            self.faults.append("a picture without a text")
        if tag == "svg":
            self.plots.append(attributes)
            if attributes.get("role") != "img" or not attributes.get("aria-label"):
                self.faults.append("a plot without a text")
            else:
                self.texts.append(attributes["aria-label"] or "")

    def _addresses(self, tag: str, attributes: dict[str, str | None]) -> None:
        for name in ("src", "srcset", "poster", "data", "action", "href", "xlink:href", "style"):
            text = attributes.get(name) or ""
            if name == "style":
                found = [one for one in re.findall(r"url\(\W*([^)]*)", text) if one[0] != "#"]
            elif tag == "a":  # leads somewhere; nothing is fetched
                found = [text] if "://" in text else []
            else:
                found = [text] if text and not text.startswith(("#", "data:")) else []
            self.faults += [f"<{tag}> refers to {one[:60]}" for one in found]

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h1":
            self.titles.append(data)
        if "style" in self.open and re.search(r"url\(|@import|@font-face", data):
            self.faults.append("the style fetches something")
        if "script" in self.open and FETCHES.search(data):
            self.faults.append("the script fetches something")
        if not set(RAW) & set(self.open):
            self.texts.append(data)


def faults(text: str) -> list[str]:
    """What is wrong with a page, a sentence each."""
    page = _Page()
    page.feed(text)
    found = page.faults
    if len(page.titles) != 1 or f"<title>{page.titles[0]}" not in text.replace("&#39;", "'"):
        found.append("not one heading, which is the title")
    found += [
        f"{shown[0]!r} in {one.strip()[:80]!r}"
        for one in page.texts
        if (shown := ODD_NUMBERS.search(one))
    ]
    colors = re.findall(r'style="[^"]*(#[0-9a-fA-F]{6})', text)
    found += [f"a colour that no dark page has: {one}" for one in colors]
    head = text[: text.find("</header>")]
    found += [
        f"no {name} in the head"
        for name in ("started", "machine", "commit", "command")
        if f"<dt>{name}</dt>" not in head
    ]
    if "not recorded" in head:
        found.append("something in the head was not recorded")
    for one in page.plots:
        if not json.loads(one.get("data-values") or "[]"):
            found.append(f"a plot without values: {one.get('aria-label')}")
    return found


def plots(text: str) -> int:
    """How many plots a page shows."""
    return text.count('<figure class="plot">')


def whole(path: Path, *words: str) -> str:
    """The text of a page in which nothing is wrong, which shows the words, and is one file."""
    text = path.read_text(encoding="utf-8")
    assert faults(text) == []
    for expected in words:
        assert expected in text
    assert [entry.name for entry in path.parent.iterdir() if entry.name.startswith(".")] == []
    return text
