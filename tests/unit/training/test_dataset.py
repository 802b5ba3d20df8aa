"""Finding images and labels, and saying what is wrong with a listing."""

from __future__ import annotations

import collections
import shutil
import zipfile
from pathlib import Path

import pytest

from foundation.command_line import InputError
from training.data import class_names, dataset


def test_a_folder_with_two_sub_folders_is_two_classes(image_folder: Path) -> None:
    found = dataset.find(str(image_folder))
    assert found.class_names == ("good", "bad")  # "bad" says of itself that it is the positive one
    assert collections.Counter(item.label for item in found.items) == {"good": 20, "bad": 20}
    assert all(found.file(item).is_file() for item in found.items)
    assert [found.target(item) for item in found.items] == [1] * 20 + [0] * 20


def test_the_positive_class_can_be_named(image_folder: Path) -> None:
    assert dataset.find(str(image_folder), "good").class_names == ("bad", "good")


def test_an_unknown_positive_class_is_refused(image_folder: Path) -> None:
    with pytest.raises(InputError, match=r"one of bad, good\. Received: ugly"):
        dataset.find(str(image_folder), "ugly")


def test_the_positive_class_does_not_depend_on_counts(image_folder: Path) -> None:
    for path in sorted((image_folder / "good").iterdir())[:18]:
        path.unlink()
    assert dataset.find(str(image_folder)).class_names == ("good", "bad")


def test_the_sample_set_is_elpv_with_its_licence() -> None:
    found = dataset.find(None)
    assert len(found.items) == 2624
    assert sum(found.target(item) for item in found.items) == 821
    assert found.class_names == ("sound", "defective")
    assert "CC-BY-NC-SA-4.0" in found.licence
    assert len({item.stratum for item in found.items}) == 8  # 4 probabilities x 2 cell types


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere, which does not exist"):
        dataset.find(str(tmp_path / "nowhere"))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"0 sub-folders \(none\)"):
        dataset.find(str(tmp_path))


def test_a_single_class_is_refused(image_folder: Path) -> None:
    shutil.rmtree(image_folder / "good")
    with pytest.raises(InputError, match=r"1 sub-folder \(bad\)"):
        dataset.find(str(image_folder))


def test_a_class_without_images_is_refused(image_folder: Path) -> None:
    shutil.rmtree(image_folder / "good")
    (image_folder / "good").mkdir()
    (image_folder / "good" / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match="no image in good"):
        dataset.find(str(image_folder))


def test_more_than_two_classes_stand_by_name_and_none_is_positive(image_folder: Path) -> None:
    shutil.copytree(image_folder / "bad", image_folder / "Ugly")
    found = dataset.find(str(image_folder))
    assert found.class_names == ("Ugly", "bad", "good")
    assert [found.target(item) for item in found.items[::20]] == [0, 1, 2]
    with pytest.raises(InputError, match=r"no --positive.*Received: bad, and 3 classes"):
        dataset.find(str(image_folder), positive="bad")


def test_a_third_class_without_images_is_refused(image_folder: Path) -> None:
    (image_folder / "ugly").mkdir()
    with pytest.raises(InputError, match="no image in ugly"):
        dataset.find(str(image_folder))


def test_more_folders_than_there_are_classes_are_refused(tmp_path: Path) -> None:
    for place in range(class_names.MOST_CLASSES + 1):
        (tmp_path / f"{place}").mkdir()
    with pytest.raises(InputError, match=r"Received: 1001 sub-folders \(0, 1, 10"):
        dataset.find(str(tmp_path))


def test_a_spreadsheet_as_manifest_is_refused(image_folder: Path) -> None:
    with zipfile.ZipFile(image_folder / "list.xlsx", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("[Content_Types].xml", "<Types/>" * 50)
        file.writestr("xl/worksheets/sheet1.xml", "<row>path</row>" * 500)
    with pytest.raises(InputError, match=r"list.xlsx to be a UTF-8 text table.*Save it as UTF-8"):
        dataset.find(str(image_folder / "list.xlsx"))


def _manifest(folder: Path, text: str, name: str = "list.csv") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(("name", "separator"), [("list.csv", ","), ("list.tsv", "\t")])
def test_a_manifest_gives_labels_groups_and_splits(
    image_folder: Path, name: str, separator: str
) -> None:
    lines = [
        ("path", "label", "split", "group"),
        ("good/00.png", "ok", "", "part 1"),
        ("bad/00.png", "nok", "test", ""),
    ]
    text = "\n".join(separator.join(line) for line in lines)
    found = dataset.find(_manifest(image_folder, text, name))
    assert found.class_names == ("ok", "nok")
    by_path = {item.path: item for item in found.items}
    assert by_path["good/00.png"].group == "part 1"
    assert by_path["good/00.png"].split is None
    assert by_path["bad/00.png"].split == "test"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "begin with the columns path and label.*Received: nothing"),
        ("file,class\na,b\n", "columns path and label.*Received: file,class"),
        ("path,label\n", "two to 1000 labels.*Received: 0"),
        ("path,label\ngood/00.png,ok\n", r"two to 1000 labels.*Received: 1: ok \(1 images"),
        ("path,label\ngood/00.png,ok\nbad/77.png,nok\n", "bad/77.png on line 3, which does not"),
        (
            "path,label\ngood/00.png,ok\n./good/00.png,ok\n",
            "each path once.*good/00.png on lines 2 and 3",
        ),
        ("path,label\ngood/00.png,\n", "a path and a label on line 2"),
        (
            "path,label,split\ngood/00.png,ok,holdout\n",
            "train | validation | test or empty. Received: holdout on line 2",
        ),
        ('path,label\n"good/00.png,ok\n', "UTF-8 text table"),
    ],
)
def test_a_manifest_with_a_mistake_is_refused_with_its_line(
    image_folder: Path, text: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        dataset.find(_manifest(image_folder, text))


@pytest.mark.parametrize("other", ["absolute", "link", "through a folder"])
def test_a_file_that_a_manifest_names_twice_is_refused(image_folder: Path, other: str) -> None:
    (image_folder / "link.png").symlink_to("good/00.png")
    second = {
        "absolute": str(image_folder / "good" / "00.png"),
        "link": "link.png",
        "through a folder": "bad/../good/00.png",
    }[other]
    text = f"path,label\ngood/00.png,ok\nbad/00.png,nok\n{second},ok\n"
    with pytest.raises(InputError, match=r"each path once.*on lines 2 and 4"):
        dataset.find(_manifest(image_folder, text))


def test_an_absolute_path_is_the_same_data_as_a_relative_one(
    image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "path,label\n{0}good/00.png,ok\n{0}bad/00.png,nok\n"
    relative = dataset.find(_manifest(image_folder, lines.format("")))
    _manifest(image_folder, lines.format(f"{image_folder}/"))
    monkeypatch.chdir(image_folder)
    absolute = dataset.find("list.csv")
    assert absolute.items == relative.items
    assert dataset.fingerprint(absolute) == dataset.fingerprint(relative)


def test_a_manifest_names_splits_as_folders_do(image_folder: Path) -> None:
    text = "path,label,split\ngood/00.png,ok,Val\nbad/00.png,nok,TRAIN\n"
    found = dataset.find(_manifest(image_folder, text))
    assert {item.label: item.split for item in found.items} == {"ok": "validation", "nok": "train"}


def test_a_manifest_that_is_not_text_is_refused(image_folder: Path) -> None:
    path = image_folder / "list.csv"
    path.write_bytes(b"path,label\n\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        dataset.find(str(path))


def test_fewer_images_keep_the_proportions_and_are_the_same_each_time() -> None:
    first, second = dataset.find(None, max_images=262), dataset.find(None, max_images=262)
    assert first == second
    assert len(first.items) == 262
    assert sum(first.target(item) for item in first.items) == 82


def test_the_fingerprint_follows_content_and_labels_but_not_the_place(
    image_folder: Path, tmp_path: Path
) -> None:
    found = dataset.fingerprint(dataset.find(str(image_folder)))
    moved = tmp_path / "moved"
    shutil.copytree(image_folder, moved)
    assert dataset.fingerprint(dataset.find(str(moved))) == found
    assert dataset.fingerprint(dataset.find(str(moved), "good")) != found
    content = bytearray((moved / "good" / "00.png").read_bytes())
    content[-1] ^= 1
    (moved / "good" / "00.png").write_bytes(content)
    assert dataset.fingerprint(dataset.find(str(moved))) != found
