"""A picture that a model calls not valid has a reason, whatever is wrong with it."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from tfs_client import Servable, contract
from tfs_client.images.headers import read_header
from tfs_client.images.pictures import Guards
from tfs_client.wire import tensors

from .picture_files import HEIGHT, NOISE, WIDTH, chunk, encoded, pictures, png


@pytest.fixture
def never_valid(server):
    """A server whose versions call every picture not valid."""
    honest = server.usual("Predict")

    def predict(request, context):
        response = honest(request, context)
        rows = len(tensors.from_proto(response.outputs["valid"]))
        for name, value in (("valid", False), ("probability", np.float32("nan")), ("label", "")):
            column = np.array([value] * rows, object if name == "label" else None)
            response.outputs[name].CopyFrom(tensors.to_proto(column))
        return response

    server.handlers["Predict"] = predict
    return server


@pytest.fixture
def reason_of(never_valid, client, make_classifier):
    """A function that has a picture refused: the reason of its answer."""

    def ask(source, **settings):
        (answer,) = make_classifier(client, **settings).predict_many([source])
        assert (answer.valid, answer.needs_review, answer.model_version) == (False, True, 1)
        return answer.reason

    return ask


@pytest.mark.parametrize("kind", contract.IMAGE_FORMATS)
def test_a_file_that_was_cut_off_is_called_so(kind, reason_of, as_file):
    file = as_file(kind=kind)
    for lost in (1, 20, len(file) // 3):
        cut = file[:-lost]
        if kind == "GIF" and lost == 1:  # all but the mark behind the last frame
            assert "whole as far as its bytes tell" in reason_of(cut)
            continue
        assert reason_of(cut).startswith(
            f"Expected a whole {kind} file. Received: a file of {len(cut)} bytes, which "
        )


def test_a_png_that_was_damaged_under_way_is_called_so(reason_of):
    file = bytearray(encoded(NOISE, "PNG"))
    file[-20] ^= 1
    assert "whose part IDAT does not match its checksum" in reason_of(bytes(file))
    ended = png(2, 8)[:-12]
    assert "which end before the end of the picture (IEND)" in reason_of(ended)
    harmless = bytearray(chunk(b"tEXt", b"words"))
    harmless[-1] ^= 1
    assert "checksum" not in reason_of(png(2, 8, before=bytes(harmless)))


def test_where_the_bytes_are_whole_it_says_the_most_that_is_true(reason_of, tmp_path):
    path = tmp_path / "cell.png"
    path.write_bytes(encoded(NOISE, "PNG"))
    assert reason_of(path) == (
        f"Expected a file that version 1 of image_classifier can decode. Received: {path}, a PNG "
        "of 23x11, whole as far as its bytes tell; its pixels are broken, or it is beyond a limit "
        "of the model's. Open it and save it again as PNG, or smaller"
    )
    large = encoded(Image.new("RGB", (3000, 2)), "BMP")
    assert "a BMP of 3000x2, whole" in reason_of(large)


def test_pixels_have_a_reason_too(reason_of):
    for source in (np.zeros((64, 64, 3), np.uint8), np.zeros((9, 5, 3), np.uint8), NOISE):
        assert reason_of(source).startswith(
            "Expected pixels that version 1 of image_classifier takes for a picture. Received: "
        )
    assert "pixels of 23x11, which it calls not valid" in reason_of(NOISE)


def test_the_reason_stands_beside_that_of_a_fallback(reason_of, as_file):
    fallback = [Servable(version=1)]
    first, second = reason_of(as_file()[:5000], label="nobody", fallback=fallback).split("; Exp")
    assert first.startswith("image_classifier/labels/nobody: LabelNotFoundError: ")
    assert second.startswith("ected a whole PNG file. Received: a file of 5000 bytes, which ")


def test_a_valid_picture_has_none(server, client, make_classifier, as_file):
    answers = make_classifier(client).predict_many([as_file(), as_file()[:5000]])
    assert [one.valid for one in answers] == [True, False]
    assert [bool(one.reason) for one in answers] == [False, True]


@pytest.mark.parametrize("name", pictures())
def test_no_whole_file_is_called_cut_off(name, reason_of):
    file = pictures()[name].file
    if Guards().prepare(file).problem is None:
        header = read_header(file)
        assert f"a {header.format} of {header.width}x{header.height}, whole" in reason_of(file)


def test_a_gif_of_millions_of_parts_is_not_walked_to_its_end(reason_of):
    head = b"GIF89a" + struct.pack("<HHBBB", WIDTH, HEIGHT, 0, 0, 0)
    frame = b"," + struct.pack("<4HB", 0, 0, WIDTH, HEIGHT, 0) + b"\x08"
    cut = head + frame + b"\x01\x00" * 1000
    assert "end in the middle of a part" in reason_of(cut)
    assert "whole as far as its bytes tell" in reason_of(cut + b"\x01\x00" * 2**22)
