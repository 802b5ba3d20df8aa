"""Which pages there are: what build/index.html lists.

A page says in its head what it is (`<meta name="made">`), so that the list is made of the pages
themselves: of those in the list's folder, and of those elsewhere that the list names already.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import html.parser
import json
import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Final

NAME: Final = "index.html"
HEAD_BYTES: Final = 65_536
"""Of a page are read to learn what it is: its head begins with that."""
LIST_BYTES: Final = 16_777_216
"""Of a list are read at most."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A page that was made."""

    link: str
    """From the list to the page, as a relative URL."""
    title: str
    when: str
    """ISO 8601: when its making was finished."""
    command: str | None


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Waits until nobody else lists the pages of this folder; the lock ends with the process.

    Raises:
        OSError: there is no such folder. Where the file system has no locks, nothing is waited for.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def entries(folder: Path, *also: Path) -> list[Entry]:
    """The pages to list, the newest first; what is no page of this project's is left out.

    Args:
        folder: where the list lies.
        also: pages that lie elsewhere.
    """
    here = folder.resolve()
    pages = {path.resolve() for path in (*folder.glob("*.html"), *also, *_listed(folder))}
    found = [entry for page in sorted(pages - {here / NAME}) if (entry := _entry(here, page))]
    return sorted(found, key=lambda entry: entry.when, reverse=True)


def _listed(folder: Path) -> list[Path]:
    """The pages that the list names by now, if there is one."""
    links = map(urllib.parse.unquote, _read(folder / NAME, LIST_BYTES).links)
    return [folder / link for link in links if "://" not in link and "\0" not in link]


def _entry(here: Path, page: Path) -> Entry | None:
    read = _read(page, HEAD_BYTES)
    try:
        made = json.loads(read.made)
        command, when = made["command"], made["finished"] or made["started"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(when, str) or not isinstance(command, (str, type(None))):
        return None
    link = urllib.parse.quote(os.path.relpath(page, here), errors="surrogateescape")
    return Entry(link=link, title=read.title.strip() or page.name, when=when, command=command)


class _Reader(html.parser.HTMLParser):
    """Takes from a page its title, what it says of its making, and what it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.made = ""
        self.links: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Takes note of an element's attributes."""
        attributes = dict(attrs)
        self._in_title = tag == "title" and not self.title
        if tag == "meta" and attributes.get("name") == "made":
            self.made = attributes.get("content") or ""
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"] or "")

    def handle_endtag(self, tag: str) -> None:
        """Ends the title."""
        self._in_title = False

    def handle_data(self, data: str) -> None:
        """Takes the title's text."""
        if self._in_title:
            self.title += data


def _read(path: Path, most_bytes: int) -> _Reader:
    """What a file says, as far as it is one that can be read."""
    reader = _Reader()
    # html.parser asserts of some broken declarations
    with contextlib.suppress(OSError, AssertionError):
        if path.is_file():
            with path.open("rb") as file:
                text = file.read(most_bytes)
            reader.feed(text.decode(errors="replace"))
    return reader
