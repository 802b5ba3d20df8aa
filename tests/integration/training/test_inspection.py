"""Looking at every picture once: what is set aside, and when training stops."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from foundation.command_line import InputError
from training.data import dataset, inspection, oddities


def _inspect(folder: Path, share: float = 0.5) -> inspection.Inspection:
    return inspection.inspect(
        dataset.find(str(folder)), max_pixels=1_000_000, max_broken_share=share
    )


def test_sound_pictures_are_all_kept(image_folder: Path) -> None:
    seen = _inspect(image_folder)
    assert len(seen.items) == 40
    assert len(set(seen.content)) == 40
    assert seen.set_aside == ()


def test_odd_but_readable_pictures_are_kept(
    image_folder: Path, picture: PIL.Image.Image, encoded: Callable
) -> None:
    deep = PIL.Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 251)
    odd = {
        "cmyk.jpg": encoded(picture.convert("CMYK"), "JPEG"),
        "deep.png": encoded(deep, "PNG"),
        "palette.png": encoded(picture.convert("P"), "PNG"),
        "moving.gif": encoded(
            picture.convert("P"), "GIF", save_all=True, append_images=[picture.rotate(90)]
        ),
        "dot.png": encoded(PIL.Image.new("RGB", (1, 1), (1, 2, 3)), "PNG"),
    }
    for name, file in odd.items():
        (image_folder / "good" / name).write_bytes(file)
    kept = {Path(item.path).name for item in _inspect(image_folder).items}
    assert set(odd) <= kept


def test_broken_files_are_set_aside_by_name_with_the_reason(
    image_folder: Path, picture: PIL.Image.Image, encoded: Callable, huge_png: bytes
) -> None:
    png = encoded(picture, "PNG")
    broken = {
        "cut.png": (png[: len(png) // 2], "cannot be decoded: Invalid PNG data"),
        "huge.png": (huge_png, "too large"),
        "nothing.png": (b"", "the file is empty"),
        "text.jpg": (b"not a picture", "not a JPEG, PNG, GIF, BMP file"),
        "web.png": (encoded(picture, "WEBP"), "not a JPEG, PNG, GIF, BMP file"),
    }
    for name, (file, _) in broken.items():
        (image_folder / "bad" / name).write_bytes(file)
    seen = _inspect(image_folder)
    assert [Path(file.path).name for file in seen.set_aside] == sorted(broken)
    for file in seen.set_aside:
        assert file.reason.startswith(broken[Path(file.path).name][1])
        assert "{{" not in file.reason
    assert len(seen.items) == 40


def test_the_same_picture_in_another_format_is_recognised(image_folder: Path) -> None:
    original = image_folder / "good" / "00.png"
    PIL.Image.open(original).save(image_folder / "good" / "copy.bmp")
    seen = _inspect(image_folder)
    keys = {Path(item.path).name: key for item, key in zip(seen.items, seen.content)}
    assert keys["copy.bmp"] == dict(zip([i.path for i in seen.items], seen.content))["good/00.png"]


def test_a_picture_with_both_labels_is_set_aside_in_both(image_folder: Path) -> None:
    shutil.copy(image_folder / "good" / "00.png", image_folder / "bad" / "copy.png")
    seen = _inspect(image_folder)
    assert {file.path for file in seen.set_aside} == {"good/00.png", "bad/copy.png"}
    assert all("labelled bad and good" in file.reason for file in seen.set_aside)


def test_too_large_a_share_of_broken_files_stops_training(image_folder: Path) -> None:
    for index in range(3):
        (image_folder / "good" / f"{index:02}.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"at most 5\.0%.*3 of 40.*good/00.png: the file is empty"):
        _inspect(image_folder, share=0.05)
    assert len(_inspect(image_folder, share=0.08).set_aside) == 3


def test_a_class_with_too_few_usable_images_stops_training(image_folder: Path) -> None:
    for path in sorted((image_folder / "bad").iterdir())[2:]:
        path.unlink()
    with pytest.raises(InputError, match=r"at least 3 usable images.*2 of bad"):
        _inspect(image_folder)


def test_files_that_are_left_out_count_under_the_same_share(image_folder: Path) -> None:
    for index in range(3):
        (image_folder / "good" / f"{index}.webp").write_bytes(b"")
    with pytest.raises(InputError, match=r"at most 5\.0%.*3 of 43.*good/0.webp: .webp is not"):
        _inspect(image_folder, share=0.05)
    assert [file.path for file in _inspect(image_folder, share=0.08).set_aside] == [
        "good/0.webp", "good/1.webp", "good/2.webp",
    ]  # fmt: skip


def test_odd_pictures_are_kept_and_told_once_a_kind(
    image_folder: Path,
    picture: PIL.Image.Image,
    encoded: Callable,
    caplog: pytest.LogCaptureFixture,
) -> None:
    exif = picture.getexif()
    exif[0x0112] = 6
    for index in range(3):
        turned = picture.crop((index, 0, 100, 80))
        (image_folder / "good" / f"turned{index}.jpg").write_bytes(
            encoded(turned, "JPEG", exif=exif)
        )
    twelve_bits = np.asarray(picture.convert("L")).astype(np.uint16) * 16
    deep = encoded(PIL.Image.fromarray(twelve_bits), "PNG")
    (image_folder / "bad" / "deep.png").write_bytes(deep)
    seen = _inspect(image_folder)
    assert len(seen.items) == 44
    assert [(kind.what, kind.count) for kind in seen.odd] == [
        (oddities.ORIENTED, 3),
        (oddities.SHALLOW, 1),
    ]
    assert seen.odd[0].first == "good/turned0.jpg (orientation 6)"
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 2
    assert told[0].startswith("3 pictures have an Exif orientation")
    assert told[1].endswith("the first: bad/deep.png (16 levels are left)")
