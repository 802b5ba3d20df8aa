"""What tfs is given to ask about: image files, and arrays by name."""

from __future__ import annotations

import base64
import binascii
import json
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from tfs_client import contract
from tfs_client.errors import RequestError
from tfs_client.images.pixels import MAX_FILE_BYTES

STANDARD_INPUT: Final = "-"

MAX_JSON_BYTES: Final = 64 * 2**20
"""Of --inputs: a short number in JSON takes ten times its size in memory. Larger arrays: .npz."""


def place(text: str) -> Path | str:
    """Where an image is: standard input for "-" alone, so that ./- is a file."""
    return text if text == STANDARD_INPUT else Path(text)


def pictures(places: Sequence[Path | str]) -> list[tuple[str, Path | bytes]]:
    """The names of the images, and where they are, or what they hold: "-" is read at once.

    Folders are replaced by the images in them.

    Raises:
        RequestError: a file that does not exist, a folder without images, or standard input twice
            or from a terminal.
    """
    if places.count(STANDARD_INPUT) > 1:
        raise RequestError("Expected - once, for one image. Received: it twice")
    found: list[tuple[str, Path | bytes]] = []
    for one in places:
        if isinstance(one, Path):
            found += [(str(path), path) for path in _image_files(one)]
        else:
            found.append((one, _read_standard_input(MAX_FILE_BYTES)))
    return found


def unreadable(expected: str, path: Path | str, error: OSError) -> RequestError:
    """The error of a file that cannot be read.

    Args:
        expected: what the file is to be.
        path: as it was given.
        error: why it cannot be read.
    """
    return RequestError(
        f"Expected {expected}. Received: {path} ({error.strerror or error}); give the path of one "
        "that is there and may be read"
    )


def _read_standard_input(most: int) -> bytes:
    if sys.stdin.isatty():
        raise RequestError(
            "Expected a file for -, from a pipe or with <. Received: a terminal; give the file's "
            "name, or say tfs … - < file"
        )
    content = sys.stdin.buffer.read(most + 1)
    if len(content) > most:
        raise RequestError(f"Expected at most {most} bytes for -. Received: more; make it smaller")
    return content


def _image_files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(
            one for one in path.rglob("*") if one.suffix.lower() in contract.IMAGE_SUFFIXES
        )
        if not found:
            raise RequestError(
                f"Expected {', '.join(contract.IMAGE_SUFFIXES)} files in the folder. "
                f"Received: none in {path}"
            )
        return found
    if not path.exists():
        raise RequestError(f"Expected an image file or a folder. Received: no such file: {path}")
    return [path]


def read_inputs(given: str) -> Mapping[str, Any]:
    """Arrays by input name: from JSON, from a .json or .npz file, or, for "-", as JSON from a pipe.

    In JSON {"b64": "…"} stands for bytes, as in TensorFlow Serving's REST API.

    Raises:
        RequestError: none of these, a file that cannot be read, an input twice, bytes that are not
            base64, or too much.
    """
    if given.endswith(".npz"):
        try:
            # numpy itself leaves a broken file open.
            with Path(given).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except OSError as error:
            raise unreadable("--inputs as an .npz file of arrays", given, error) from error
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise RequestError(
                f"Expected an .npz file of arrays. Received: {given}: {error}"
            ) from error
    try:
        found = json.loads(_json_text(given), object_pairs_hook=_Pairs)
        if isinstance(found, _Pairs):
            return {name: _with_bytes(value, name) for name, value in found.by_name().items()}
    except RecursionError as error:
        raise RequestError(
            "Expected arrays in --inputs. Received: lists in lists without end"
        ) from error
    except ValueError as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError(
            "Expected --inputs as JSON, a .json or .npz file, or - for JSON from standard input. "
            f"Received: {given[:60]}: {error}"
        ) from error
    raise RequestError(
        f"Expected --inputs as a JSON object of arrays by name. Received: {given[:60]}"
    )


def _json_text(given: str) -> str:
    if given == STANDARD_INPUT:
        return _read_standard_input(MAX_JSON_BYTES).decode()
    if not given.endswith(".json"):
        return given
    try:
        with Path(given).open("rb") as file:
            content = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise unreadable("--inputs as a .json file of arrays by name", given, error) from error
    if len(content) > MAX_JSON_BYTES:
        raise RequestError(
            f"Expected a .json file of at most {MAX_JSON_BYTES} bytes. Received: {given} of more; "
            "save the arrays with numpy.savez and give the .npz file"
        )
    return content.decode()


class _Pairs(list[tuple[str, Any]]):
    """An object of JSON, in which a name may stand twice."""

    def by_name(self) -> dict[str, Any]:
        found = dict(self)
        if len(found) < len(self):
            twice = next(name for name, _ in self if sum(name == one for one, _ in self) > 1)
            raise RequestError(f"Expected each input once. Received: {twice!r} twice in --inputs")
        return found


def _with_bytes(value: Any, name: str) -> Any:
    """A value with each {"b64": "…"} in it replaced by its bytes."""
    if isinstance(value, _Pairs):
        return _bytes_of(value, name)
    if isinstance(value, list):
        return [_with_bytes(one, name) for one in value]
    return value


def _bytes_of(pairs: _Pairs, name: str) -> bytes:
    match pairs:
        case [("b64", str(text))]:
            try:
                return base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError) as error:
                raise RequestError(
                    f'Expected base64 in {{"b64": "…"}} of the input {name!r}. '
                    f"Received: {text[:40]!r}: {error}"
                ) from error
    raise RequestError(
        f'Expected numbers, texts, lists of them or {{"b64": "…"}} in the input {name!r}. '
        f"Received: an object with {[one for one, _ in pairs][:5]}"
    )
