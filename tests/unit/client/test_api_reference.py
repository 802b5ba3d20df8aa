"""docs/client is what `make docs` writes, and holds every public name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tfs_client
from docs import api_reference


def test_the_pages_are_up_to_date(capsys: pytest.CaptureFixture) -> None:
    assert api_reference.main(["--check"]) == 0, capsys.readouterr().err


def test_every_public_class_and_function_has_a_chapter() -> None:
    written = "\n".join(api_reference.pages().values())
    chapters = re.findall(r"^## (\w+)$", written, re.MULTILINE)
    public = {name for name in tfs_client.__all__ if callable(getattr(tfs_client, name))}
    assert public <= set(chapters)
    assert len(chapters) == len(set(chapters))


def test_links_of_the_index_lead_to_chapters() -> None:
    pages = api_reference.pages()
    links = re.findall(r"\(([\w.]+)#(\w+)\)", pages["README.md"])
    assert len(links) > 50
    for page, anchor in links:
        assert re.search(rf"^## {anchor}$", pages[page], re.MULTILINE | re.IGNORECASE), anchor


def test_what_private_bases_say_stands_with_the_public_class() -> None:
    clients = api_reference.pages()["client.md"]
    for name in ("Client", "AsyncClient"):
        chapter = clients.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert "`hedge_after_s`: " in chapter
        assert f"### {name}.predict\n" in chapter
        assert f"### {name}.fallback_counts\n" in chapter


def test_a_page_that_differs_is_named_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(api_reference, "FOLDER", tmp_path)
    assert api_reference.main([]) == 0
    assert api_reference.main(["--check"]) == 0
    (tmp_path / "errors.md").write_text("old")
    (tmp_path / "of-a-room-that-is-gone.md").write_text("old")

    assert api_reference.main(["--check"]) == 1
    said = capsys.readouterr().err
    assert re.findall(r"([\w-]+\.md) is not up to date", said) == [
        "errors.md",
        "of-a-room-that-is-gone.md",
    ]
    assert api_reference.main([]) == 0
    assert not (tmp_path / "of-a-room-that-is-gone.md").exists()
    assert api_reference.main(["--check"]) == 0
