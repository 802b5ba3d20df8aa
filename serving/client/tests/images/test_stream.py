"""Streams of images: bounded, in order, in batches that the server takes; and the guards."""

from __future__ import annotations

import io
import itertools
import threading
import time

import grpc
import numpy as np
import pytest
from PIL import Image, ImageOps

from tfs_client import Guards, ImageError, RequestError, UnavailableError
from tfs_client.wire import tensors


def turned(picture, as_file, orientation: int, kind: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return as_file(picture, kind, exif=exif)


def numbered(number: int) -> np.ndarray:
    """Pixels whose first value is the image's number."""
    return np.full((64, 64, 3), number % 256, np.uint8)


def answer_with_pixels(server):
    """Has the server answer the first pixel / 256 as probability, so that mix-ups show."""
    honest = server.usual("Predict")

    def answer(request, context):
        response = honest(request, context)
        first = tensors.from_proto(request.inputs["images"])[:, 0, 0, 0]
        proto = tensors.to_proto((first / 256).astype(np.float32))
        response.outputs["probability"].CopyFrom(proto)
        return response

    server.handlers["Predict"] = answer


def test_a_stream_of_thousands_keeps_its_order(server, client, make_classifier):
    answer_with_pixels(server)
    seen: list[int] = []
    classifier = make_classifier(client, batch_size=16)
    sources = (numbered(number) for number in range(2000))
    answers = list(classifier.stream(sources, concurrency=4, progress=seen.append))
    expected = [number % 256 / 256 for number in range(2000)]
    assert [answer.probability for answer in answers] == expected
    assert sum(seen) == 2000
    assert len(server.asked("Predict")) == 125


def test_a_stream_takes_no_more_than_it_can_send(server, client, make_classifier):
    taken: list[int] = []

    def sources():
        for number in itertools.count():
            taken.append(number)
            yield numbered(number)

    classifier = make_classifier(client, batch_size=5)
    stream = classifier.stream(sources(), concurrency=3)
    for _ in range(7):
        next(stream)
    assert len(taken) <= 5 * (3 + 2)
    stream.close()
    before = len(taken)
    time.sleep(0.05)
    assert len(taken) == before


def test_no_more_requests_are_under_way_than_asked_for(server, client, make_classifier):
    honest = server.usual("Predict")
    lock = threading.Lock()
    now = most = 0

    def answer(request, context):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return honest(request, context)

    server.handlers["Predict"] = answer
    classifier = make_classifier(client, batch_size=1)
    list(classifier.stream([numbered(0)] * 24, concurrency=3))
    assert most == 3


def test_bad_files_are_marked_and_the_stream_goes_on(client, make_classifier, as_file, tmp_path):
    good = tmp_path / "good.png"
    good.write_bytes(as_file())
    empty = tmp_path / "empty.png"
    empty.touch()
    sources = [good, empty, tmp_path / "missing.png", b"<html>", as_file()]
    answers = list(make_classifier(client, batch_size=2).stream(sources))
    assert [answer.valid for answer in answers] == [True, False, False, False, True]
    assert [answer.source for answer in answers[:3]] == [str(one) for one in sources[:3]]
    assert "of 0 bytes" in answers[1].reason
    assert "FileNotFoundError" in answers[2].reason
    assert "HTML" in answers[3].reason
    assert all(answer.needs_review for answer in answers[1:4])
    with pytest.raises(ImageError, match="of 0 bytes"):
        list(make_classifier(client).stream(sources, on_bad_image="raise"))


def test_what_is_no_picture_at_all_is_the_callers_mistake(server, client, make_classifier):
    with pytest.raises(RequestError, match="Expected an image as a path"):
        list(make_classifier(client).stream([3]))
    for wrong in ("one.png", b"x", 3, np.zeros((2, 2), np.uint8)):
        with pytest.raises(RequestError, match=r"Expected .* Received: "):
            make_classifier(client).stream(wrong)
    with pytest.raises(RequestError, match="concurrency"):
        make_classifier(client).stream([], concurrency=0)
    assert list(make_classifier(client).stream([])) == []
    assert server.asked("Predict") == ()


def test_an_error_of_the_server_comes_at_its_place(server, client, make_classifier):
    classifier = make_classifier(client, batch_size=1)

    def sources():
        for number in range(10):
            if number == 5:
                server.stop()
            yield numbered(number)

    stream = classifier.stream(sources(), concurrency=1)
    assert len([next(stream) for _ in range(5)]) == 5
    with pytest.raises(UnavailableError):
        next(stream)


def test_a_server_that_takes_smaller_batches_is_followed(server, client, make_classifier):
    answer_with_pixels(server)
    answering = server.handlers["Predict"]

    def at_most_8(request, context):
        size = request.inputs["images"].tensor_shape.dim[0].size
        if size > 8:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Task size {size} is larger than maximum input batch size 8",
            )
        return answering(request, context)

    server.handlers["Predict"] = at_most_8
    classifier = make_classifier(client, batch_size=30)
    answers = classifier.predict_many([numbered(number) for number in range(60)])
    assert [answer.probability for answer in answers] == [number / 256 for number in range(60)]
    sizes = [request.rows for request in server.asked()]
    assert sizes == [30, 8, 8, 8, 6, 8, 8, 8, 6]


def test_files_are_sent_in_requests_of_bounded_size(server, client, make_classifier, monkeypatch):
    monkeypatch.setattr("tfs_client.images.pictures.BATCH_BYTES", 40_000)
    file = Image.effect_noise((100, 100), 50)
    buffer = io.BytesIO()
    file.save(buffer, "BMP")  # 11 kB
    make_classifier(client).predict_many([buffer.getvalue()] * 7)
    sizes = [request.rows for request in server.asked()]
    assert sizes == [3, 3, 1]


# --- guards ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guards", "words"),
    [
        (Guards(max_file_bytes=100), "at most 100 bytes"),
        (Guards(max_pixels=4799), "at most 4799 pixels. Received: a file of 80x60"),
    ],
    ids=["bytes", "pixels"],
)
def test_limits_are_looked_at_before_anything_is_sent(
    server, client, make_classifier, picture, as_file, tmp_path, guards, words
):
    classifier = make_classifier(client, guards=guards)
    with pytest.raises(ImageError) as caught:
        classifier.predict(as_file())
    assert words in str(caught.value)
    path = tmp_path / "large.png"
    path.write_bytes(as_file())
    with pytest.raises(ImageError, match=r"large\.png"):
        classifier.predict(path)
    if guards.max_pixels < 4800:
        for pixels in (picture, np.asarray(picture)):
            with pytest.raises(ImageError, match="4799 pixels"):
                classifier.predict(pixels)
    assert server.asked("Predict") == ()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_put_upright_if_told_to(
    server, client, make_classifier, picture, as_file, orientation
):

    content = turned(picture, as_file, orientation)
    image = Image.open(io.BytesIO(content))
    expected = np.asarray(
        ImageOps.exif_transpose(image).resize((64, 64), Image.Resampling.BILINEAR)
    )
    classifier = make_classifier(client, guards=Guards(orientation="apply"))
    classifier.predict(image)
    classifier.predict(content)
    sent = [request.inputs for request in server.asked("Predict")]
    np.testing.assert_array_equal(sent[0]["images"][0], expected)
    if orientation == 1:
        assert sent[1]["image_bytes"].tolist() == [content]
    else:
        np.testing.assert_array_equal(sent[1]["images"][0], expected)


def test_a_turned_picture_is_sent_as_it_is_or_refused(
    server, client, make_classifier, picture, as_file
):
    content = turned(picture, as_file, 6)
    assert make_classifier(client).predict(content).valid
    assert server.requests[-1].inputs["image_bytes"].tolist() == [content]
    classifier = make_classifier(client, guards=Guards(orientation="refuse"))
    for source in (content, Image.open(io.BytesIO(content))):
        with pytest.raises(ImageError, match="EXIF orientation 6"):
            classifier.predict(source)
    assert classifier.predict(as_file(picture, "JPEG")).valid
    with pytest.raises(RequestError, match="Expected orientation"):
        Guards(orientation="upright")
