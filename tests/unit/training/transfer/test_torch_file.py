"""PyTorch's files: read to the number in both layouts, and never run."""

from __future__ import annotations

import collections
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from foundation.command_line import InputError
from tests import torch_files
from training.transfer import torch_file

TENSORS = {
    "stem.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "stem.bias": np.array([0.5, -2.0]),
    "half": np.array([[1.0, 2.0]], np.float16),
    "batches": np.array(7),
    "none": np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("beside", [None, {"epoch": 3}])
def test_tensors_are_read_as_they_were_written(
    tmp_path: Path, zipped: bool, beside: dict[str, int] | None
) -> None:
    torch_files.write(tmp_path / "a.pth", TENSORS, zipped=zipped, beside=beside)
    found = torch_file.read(tmp_path / "a.pth")
    assert set(found) == set(TENSORS)
    for name, value in TENSORS.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value, strict=True)


def test_a_tensor_that_steps_through_its_numbers_is_read_in_its_order(tmp_path: Path) -> None:
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    torch_files.write(tmp_path / "a.pth", {"turned": turned})
    # the file holds the numbers as they lie in memory
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        pickled = archive.read("weights/data.pkl")
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("weights/data.pkl", pickled)
        archive.writestr("weights/data/0", turned.T.tobytes())
    np.testing.assert_array_equal(torch_file.read(tmp_path / "a.pth")["turned"], turned)


class _Code:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_holds_code_is_refused_and_does_not_run(tmp_path: Path, zipped: bool) -> None:
    mark, path = tmp_path / "ran", tmp_path / "a.pth"
    torch_files.write(path, TENSORS, zipped=zipped, beside={"hook": _Code(mark)})
    with pytest.raises(InputError, match=r"hold tensors alone\. Received: (posix|nt)\.mkdir"):
        torch_file.read(path)
    assert not mark.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_anywhere_is_one_line(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "a.pth"
    torch_files.write(path, TENSORS, zipped=zipped)
    content = path.read_bytes()
    for length in {0, 1, *range(2, len(content), 37), len(content) - 1}:
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"Expected .* as torch\.save writes") as told:
            torch_file.read(path)
        assert "\n" not in str(told.value)


def test_a_changed_byte_gives_tensors_or_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch_files.write(path, TENSORS, zipped=False)
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        changed = content.copy()
        changed[random.integers(len(content))] = random.integers(256)
        path.write_bytes(changed)
        said = _refusal(path)
        refused += said is not None
        assert "\n" not in (said or "")
    assert refused > 100


def _refusal(path: Path) -> str | None:
    try:
        torch_file.read(path)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    "whole",
    [
        7,
        {"epoch": 3},
        collections.OrderedDict(a=np.int64(3).item()),
        [1, 2],
    ],
)
def test_a_pickle_without_tensors_is_one_line(tmp_path: Path, whole: object) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps(whole, 2))
    with pytest.raises(InputError, match=r"no tensor by name"):
        torch_file.read(path)


@pytest.mark.parametrize(
    "shape_and_strides",
    [
        ((2**40,), (0,)),  # one number, a million million times
        ((5,), (1,)),
        ((2, 2), (1,)),
        ((-1,), (1,)),
        ((2,), (-1,)),
        ((2, 2), (4, 1)),
    ],
)
def test_a_tensor_that_its_numbers_do_not_hold_is_one_line(
    tmp_path: Path, shape_and_strides: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    path = tmp_path / "a.pth"
    array = np.arange(4, dtype=np.float32)
    torch_files.write(path, {"a": array}, said=shape_and_strides)
    with pytest.raises(InputError, match=r"ValueError: (a tensor|tensors of)"):
        torch_file.read(path)


def test_many_tensors_of_the_same_numbers_are_refused(tmp_path: Path) -> None:
    """A million names for the same megabyte would be a terabyte."""
    array = np.zeros(100_000, np.float32)
    path = tmp_path / "a.pth"
    torch_files.write(path, {f"{index}": array for index in range(50)}, shared=True)
    with pytest.raises(InputError, match=r"tensors of 20000000 bytes"):
        torch_file.read(path)


def test_compressed_storages_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch_files.write(path, TENSORS)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match=r"data\.pkl is compressed"):
        torch_file.read(path)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No such file"):
        torch_file.read(tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"Is a directory"):
        torch_file.read(tmp_path)
