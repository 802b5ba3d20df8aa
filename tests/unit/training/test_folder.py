"""Reading a folder: classes, fixed splits, and every file that is no item."""

from __future__ import annotations

import collections
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundation.command_line import InputError
from training.data import dataset, folder


def _reasons(found: dataset.Dataset) -> dict[str, str]:
    return {file.path: file.reason for file in found.left_out}


def _into_splits(image_folder: Path, **names: slice) -> Path:
    """Moves the images of both classes into <split>/<class>/."""
    root = image_folder.with_name("split")
    for label in ("good", "bad"):
        files = sorted((image_folder / label).iterdir())
        for name, part in names.items():
            (root / name / label).mkdir(parents=True)
            for file in files[part]:
                file.rename(root / name / label / file.name)
    return root


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "VALID", "Test")])
def test_folders_named_as_splits_fix_them(image_folder: Path, names: tuple[str, ...]) -> None:
    parts = zip(names, (slice(0, 10), slice(10, 14), slice(14, 20)))
    found = dataset.find(str(_into_splits(image_folder, **dict(parts))))
    assert found.class_names == ("good", "bad")
    assert collections.Counter((item.label, item.split) for item in found.items) == {
        (label, split): count
        for label in ("good", "bad")
        for split, count in (("train", 10), ("validation", 4), ("test", 6))
    }


def test_splits_below_the_classes_count_too_where_every_image_lies_in_one(
    image_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for label in ("good", "bad"):
        for name, part in (("train", slice(0, 15)), ("test", slice(0, None))):
            (image_folder / label / name).mkdir()
            for file in sorted((image_folder / label).glob("*.png"))[part]:
                file.rename(image_folder / label / name / file.name)
    found = dataset.find(str(image_folder))
    counts = collections.Counter(item.split for item in found.items)
    assert counts == {"train": 30, "test": 10}
    (image_folder / "good" / "test" / "19.png").rename(image_folder / "good" / "19.png")
    assert not caplog.records
    assert {item.split for item in dataset.find(str(image_folder)).items} == {None}
    assert "39 of 40 images lie in folders named as splits, not all of them" in caplog.text


def test_a_split_beside_a_folder_that_is_none_is_refused(image_folder: Path) -> None:
    root = _into_splits(image_folder, train=slice(0, 20))
    shutil.copytree(root / "train" / "bad", root / "extra")
    with pytest.raises(InputError, match=r"train with sub-folders.*beside extra, which is none"):
        dataset.find(str(root))


def test_split_folders_without_classes_in_them_are_refused(image_folder: Path) -> None:
    (image_folder / "good").rename(image_folder / "train")
    (image_folder / "bad").rename(image_folder / "test")
    with pytest.raises(InputError, match=r"no sub-folder in .*test, which is taken for the test"):
        dataset.find(str(image_folder))


def test_one_class_may_be_named_as_a_split_is(image_folder: Path) -> None:
    (image_folder / "good").rename(image_folder / "train")
    found = dataset.find(str(image_folder))
    assert set(found.class_names) == {"train", "bad"}
    assert {item.split for item in found.items} == {None}


def test_split_folders_with_other_classes_are_refused(image_folder: Path) -> None:
    root = _into_splits(image_folder, train=slice(0, 10), test=slice(10, 20))
    (root / "test" / "bad").rename(root / "test" / "Bad")
    with pytest.raises(InputError, match=r"Received: Bad and bad, of 3 classes"):
        dataset.find(str(root))


def test_what_looks_like_a_picture_and_is_no_item_is_told_with_the_reason(
    image_folder: Path,
) -> None:
    png = (image_folder / "good" / "00.png").read_bytes()
    bad = image_folder / "bad"
    for name in ("a.webp", "b.TIFF", "c.heic"):
        (bad / name).write_bytes(b"whatever is in it")
    (bad / "d.jfif").write_bytes(b"\xff\xd8\xff\xe0 a JPEG")
    (bad / "e").write_bytes(png)
    (bad / "f.png").symlink_to("nowhere.png")
    (bad / "g.png").symlink_to("g.png")
    os.mkfifo(bad / "h.png")
    (bad / "notes.txt").write_text("no picture")
    (bad / "Thumbs.db").write_text("no picture, and not worth a word")
    (image_folder / "beside.jpg").write_bytes(b"")
    (image_folder / "labels.csv").write_text("")
    found = dataset.find(str(image_folder))
    assert _reasons(found) == {
        "bad/a.webp": ".webp is not decoded; save it as PNG",
        "bad/b.TIFF": ".tiff is not decoded; save it as PNG",
        "bad/c.heic": ".heic is not decoded; save it as PNG",
        "bad/d.jfif": "a JPEG without its suffix; name it .jpg",
        "bad/e": "a PNG without its suffix; name it .png",
        "bad/f.png": "a link that leads to no file",
        "bad/g.png": "a link that leads to no file",
        "bad/h.png": "not a file",
        "beside.jpg": "lies in no class's folder",
    }
    assert {file.label for file in found.left_out} == {"bad", ""}
    assert found.other_files == {".txt": 1}
    assert len(found.items) == 40


def test_hidden_files_and_folders_are_no_pictures_at_any_depth(image_folder: Path) -> None:
    before = dataset.find(str(image_folder))
    for name in (".hidden", ".ipynb_checkpoints", "__MACOSX", "@eaDir", "deep/er/.thumbs"):
        for parent in (image_folder, image_folder / "good"):
            if "/" in name and parent == image_folder:
                continue  # a third class
            (parent / name).mkdir(parents=True)
            shutil.copy(image_folder / "good" / "00.png", parent / name / "x.png")
    (image_folder / "good" / "._00.png").write_bytes(b"\0\5\x16\7")
    (image_folder / "good" / "deep" / "._a.webp").write_bytes(b"\0\5\x16\7")
    assert dataset.find(str(image_folder)) == before


def test_pictures_behind_a_link_to_a_folder_are_left_out_one_by_one(
    image_folder: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "deeper").mkdir(parents=True)
    for name in ("1.png", "deeper/2.png", "3.txt"):
        (elsewhere / name).write_bytes(b"")
    (elsewhere / "round").symlink_to(elsewhere)
    (image_folder / "good" / "more").symlink_to(elsewhere)
    (image_folder / "good" / "up").symlink_to(image_folder.parent)
    (image_folder / "good" / "across").symlink_to("../bad")
    found = dataset.find(str(image_folder))
    assert len(found.items) == 40
    known = "a link to a folder that is looked at anyway"
    assert _reasons(found) == {
        "good/across": known,
        "good/more/1.png": "in a linked folder, which is not followed; copy it, or use a manifest",
        "good/more/deeper/2.png": "in a linked folder, which is not followed; copy it, or use a "
        "manifest",
        "good/up": known,
    }


def test_a_link_in_place_of_a_class_folder_is_followed(image_folder: Path, tmp_path: Path) -> None:
    (image_folder / "good").rename(tmp_path / "elsewhere")
    (image_folder / "good").symlink_to(tmp_path / "elsewhere")
    found = dataset.find(str(image_folder))
    assert len(found.items) == 40
    assert found.left_out == ()


@pytest.fixture
def without_rights(image_folder: Path) -> Iterator[Path]:
    """Images that may not be read or looked at, seen as somebody who is not root."""
    place = Path(tempfile.mkdtemp(prefix="no-rights-"))  # tmp_path lets nobody else in
    place.chmod(0o755)
    shutil.copytree(image_folder, place / "images")
    bad, root = place / "images" / "bad", os.geteuid() == 0
    for name in ("closed", "listed"):
        (bad / name).mkdir()
        shutil.copy(bad / "01.png", bad / name)
    (bad / "closed").chmod(0o000)
    (bad / "listed").chmod(0o444)
    (bad / "00.png").chmod(0o000)
    if root:
        os.seteuid(65534)
    yield place / "images"
    if root:
        os.seteuid(0)
    for name in ("closed", "listed"):
        (bad / name).chmod(0o700)
    shutil.rmtree(place)


def test_what_may_not_be_read_is_told(without_rights: Path) -> None:
    found = dataset.find(str(without_rights))
    assert _reasons(found) == {
        "bad/00.png": "no permission to read it",
        "bad/closed": "a folder that cannot be looked into: Permission denied",
        "bad/listed/01.png": "no permission to look at it",
    }
    assert len(found.items) == 39


def test_a_file_whose_name_is_not_utf8_is_told_and_a_folder_is_refused(image_folder: Path) -> None:
    file = os.fsencode(image_folder / "good") + b"/caf\xe9.png"
    shutil.copy(image_folder / "good" / "00.png", file)
    found = dataset.find(str(image_folder))
    assert _reasons(found) == {"good/caf\\xe9.png": "its name is not UTF-8; rename it"}
    Path(os.fsdecode(file)).unlink()
    (image_folder / "good").rename(os.fsdecode(os.fsencode(image_folder) + b"/b\xf6se"))
    with pytest.raises(InputError, match=r"names in UTF-8. Received: the folder b\\xf6se"):
        dataset.find(str(image_folder))


def test_a_class_of_other_formats_alone_says_why_it_has_no_image(image_folder: Path) -> None:
    for file in (image_folder / "good").iterdir():
        file.rename(file.with_suffix(".webp"))
    with pytest.raises(InputError, match=r"no image in good \(20 files: .webp is not decoded"):
        dataset.find(str(image_folder))


def test_fewer_images_leave_fewer_out(image_folder: Path) -> None:
    for index in range(20):
        (image_folder / "bad" / f"{index}.webp").write_bytes(b"")
    found = dataset.find(str(image_folder), max_images=10)
    assert (len(found.items), len(found.left_out)) == (10, 5)


def test_every_suffix_has_one_meaning() -> None:
    assert not folder.OTHER_FORMATS & set(folder.contract.IMAGE_SUFFIXES)
