"""docs/client is what `make docs` writes, and holds every public name."""

from __future__ import annotations

import importlib
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


def test_every_name_of_a_public_module_stands_on_its_page() -> None:
    pages = api_reference.pages()
    for module in api_reference.MODULES:
        names = getattr(importlib.import_module(f"tfs_client.{module}"), "__all__", ())
        for name in names:
            written = rf"^## {name}$|^- `{name}[`: ]"
            assert re.search(written, pages[f"{module}.md"], re.MULTILINE), f"{module}.{name}"


def test_a_module_that_the_package_calls_public_has_a_page() -> None:
    (said,) = re.findall(r"these modules: (.*?)\.", tfs_client.__doc__ or "", re.DOTALL)
    named = re.findall(r"\b\w+\b", re.sub(r"\([^)]*\)| and ", " ", said))
    pages = {page.removesuffix(".md") for page in api_reference.pages()}
    assert len(named) > 6
    assert set(named) <= pages


def test_every_link_of_the_reference_leads_to_a_heading() -> None:
    pages = api_reference.pages()
    headings = {
        page: {
            heading.replace(".", "").lower()
            for heading in re.findall(r"^##+ (.+)$", text, re.MULTILINE)
        }
        for page, text in pages.items()
    }
    links = [
        (file or page, anchor)
        for page, text in pages.items()
        for file, anchor in re.findall(r"\]\(([\w.]*)#(\w+)\)", text)
    ]
    assert len(links) > 150
    assert not [link for link in links if link[1] not in headings[link[0]]]


def test_what_a_base_class_says_stands_once_and_is_linked() -> None:
    pages = api_reference.pages()
    chapter = pages["testing.md"].partition("\n## FakeClassifier\n")[2].partition("\n## ")[0]
    assert chapter.count("**Args**") == chapter.count("`batch_size`: ") == 1
    assert "Derives from [`ImageClassifier`](images.md#imageclassifier), [`Fake`](#fake)" in chapter
    assert "As [`Client.predict`](#clientpredict)." in pages["client.md"]
    assert "Connection's" not in pages["client.md"]
