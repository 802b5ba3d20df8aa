"""The list of pages in build/."""

from __future__ import annotations

import datetime
import multiprocessing
import os
from pathlib import Path

import pytest

from foundation.pages import index, page
from tests.house.pages import faults

TEMPLATE = """{% extends "base.html" %}
{% block title %}{{ title }}{% endblock %}
{% block body %}{% endblock %}"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder, the current one."""
    (tmp_path / "template.html").write_text(TEMPLATE)
    (tmp_path / "build").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(path: Path, title: str, command: str = "make it", hour: int = 1) -> None:
    time = datetime.datetime(2026, 1, 1, hour, tzinfo=datetime.timezone.utc).isoformat()
    origin = page.Origin(command=command, commit=None, machine=None, started=time, finished=time)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.write(path, Path("template.html"), origin=origin, title=title)


def listed() -> list[tuple[str, str]]:
    return [(entry.title, entry.link) for entry in index.entries(Path("build"))]


def test_what_is_made_is_listed_with_title_time_command_and_link(folder: Path) -> None:
    make(Path("build/one.html"), "One <&> 1", "make one")
    make(Path("build/two.html"), "Two", "make two", hour=2)
    text = (folder / "build/index.html").read_text()
    assert '<a href="one.html">One &lt;&amp;&gt; 1</a>' in text
    assert "2026-01-01 01:00:00 UTC" in text
    assert "<code>make one</code>" in text
    assert text.index("Two") < text.index("One &lt;")
    assert [one for one in faults(text) if "in the head" not in one] == []


def test_a_page_elsewhere_stays_listed_as_long_as_it_is_there(folder: Path) -> None:
    make(Path("runs/a #1/report.html"), "A run")
    page.list_page(Path("runs/a #1/report.html"))
    make(Path("build/one.html"), "One", hour=2)
    assert listed() == [("One", "one.html"), ("A run", "../runs/a%20%231/report.html")]
    Path("runs/a #1/report.html").unlink()
    make(Path("build/one.html"), "One", hour=2)
    assert listed() == [("One", "one.html")]


def test_a_page_outside_of_the_project_is_not_listed(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    away = tmp_path_factory.mktemp("away") / "page.html"
    make(away, "Away")
    page.list_page(away)
    page.list_page(Path(os.path.relpath(away)))
    assert list((folder / "build").iterdir()) == []


FOREIGN = {
    "foreign.html": b"<html><title>Locust</title>",
    "empty.html": b"",
    "bytes.html": bytes(range(256)) * 100,
    "torn.html": b'<meta name="made" content="{&quot;comm',
    "wrong.html": b'<meta name="made" content="[1]"><title>x</title>',
    "numbers.html": b'<meta name="made" content="{&quot;command&quot;: 1, &quot;finished&quot;: 2, '
    b'&quot;started&quot;: 3}">',
    "declared.html": b"<![if x]><!DOCTYPE [<",
    "index.html": b"<a href='../../etc/passwd'>x</a><a href='http://[::1'>y</a>"
    b"<a href='\x00'>z</a>",
}


def test_foreign_files_are_left_out_and_do_no_harm(folder: Path) -> None:
    for name, content in FOREIGN.items():
        (folder / "build" / name).write_bytes(content)
    (folder / "build" / "folder.html").mkdir()
    os.mkfifo(folder / "build" / "pipe.html")  # reading it would wait for ever
    (folder / "build" / "nowhere.html").symlink_to("not there")
    make(Path("build/one.html"), "One")
    assert listed() == [("One", "one.html")]
    assert "Locust" not in (folder / "build/index.html").read_text()


def test_a_list_that_cannot_be_written_ends_nothing(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "build/index.html").mkdir()
    (folder / "build/index.html/full").write_text("")
    make(Path("build/one.html"), "One")
    assert "One" in (folder / "build/one.html").read_text()
    assert "build/one.html cannot be listed in build/index.html: " in caplog.text


def _write_some(number: int) -> None:
    for at in range(5):
        make(Path(f"build/{number}-{at}.html"), f"Page {number}-{at}")


@pytest.mark.slow
def test_writers_at_the_same_time_lose_no_page(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_some, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    text = (folder / "build/index.html").read_text()
    assert all(f"Page {number}-{at}" in text for number in range(4) for at in range(5))
    assert text.endswith("</html>\n") or text.endswith("</html>")
    assert [path.name for path in (folder / "build").iterdir() if path.name.startswith(".")] == []
