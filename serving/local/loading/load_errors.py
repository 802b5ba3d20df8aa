"""Why a SavedModel could not be loaded, in the words of TensorFlow Serving.

TensorFlow Serving loads in C++, this server with TensorFlow's Python loader, which often has other
codes and texts for the same faults.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError
from grpc import StatusCode
from tensorflow.core.protobuf import saved_model_pb2

from serving.local.errors import ServingError, not_found

_log = logging.getLogger(__name__)

_PREFIX: Final = "Graph execution error:\n\n"
"""What TensorFlow's Python API adds before the text of an op."""

_MISSING_FILE: Final = "; No such file or directory"


def as_served(error: ServingError, path: Path, tags: Collection[str]) -> ServingError:
    """The error of TensorFlow Serving for a load that has failed here.

    Args:
        error: of the Python loader.
        path: the version's folder.
        tags: of the graph that was asked for.
    """
    file = path / "saved_model.pb"
    if file.exists():
        fault = _fault_of_file(file, tags)
        if fault is not None:
            return fault
    elif not file.with_suffix(".pbtxt").exists():
        return not_found(
            "Specified file path does not appear to contain a SavedModel bundle (should have a "
            f"file called `saved_model.pb`)\nSpecified file path: {path}"
        )
    if not (path / "variables" / "variables.index").exists():
        _log.warning(
            "%s has no variables/variables.index. TensorFlow Serving takes that for a model "
            "without variables: it would serve this version and fail its requests.",
            path,
        )
    text = error.text.removeprefix(_PREFIX)
    return ServingError(StatusCode.NOT_FOUND if _MISSING_FILE in text else error.code, text)


def _fault_of_file(file: Path, tags: Collection[str]) -> ServingError | None:
    content = file.read_bytes()
    try:
        saved = saved_model_pb2.SavedModel.FromString(content)
    except DecodeError:
        if _is_cut_off(content):
            return ServingError(StatusCode.OUT_OF_RANGE, "Read less bytes than requested")
        return ServingError(StatusCode.DATA_LOSS, f"Can't parse {file} as binary proto")
    if not any(set(graph.meta_info_def.tags) == set(tags) for graph in saved.meta_graphs):
        return not_found(
            f"Could not find meta graph def matching supplied tags: {{ {' '.join(tags)} }}. To "
            "inspect available tag-sets in the SavedModel, please use the SavedModel CLI: "
            "`saved_model_cli`"
        )
    return None


def _is_cut_off(content: bytes) -> bool:
    """Whether the last field of a SavedModel is longer than what there is."""
    position = 0
    while position < len(content):
        tag, position = _varint(content, position)
        number, position = _varint(content, position)
        match tag & 7:
            case 0:  # a number: it has been read
                pass
            case 2:  # so many bytes follow
                position += number
            case _:
                return False
    return position > len(content)


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """A number of protobuf's wire format, and where the next one begins."""
    value = shift = 0
    while position < len(content):
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
    return value, position + 1
