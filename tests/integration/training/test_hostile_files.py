"""Small files that ask for much, and large ones: what decoding them costs, in the graph."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from export import burden, hostile
from tfs_client import ImageError
from tfs_client.contract import MAX_JPEG_SCANS
from tfs_client.images.headers import check_header, read_header
from training.data import preprocessing
from training.data.formats.examine import examine, pixels, problem_text

LIMIT = 50_000_000

REFUSED = {
    *(name for name in hostile.FILES if name.endswith("before_pixels")),
    *("png_of_200000_comments", "png_of_200000_empty_parts", "png_1_wide_1000000_high"),
    *("png_of_100_megapixels", "gif_first_frame_30000x20000", "gif_canvas_60000x60000"),
    *("gif_of_1000000_empty_parts", "jpeg_of_1000_scans", "bmp_of_2_gigapixels"),
}
"""The others are small pictures once what they need not is left out."""


@pytest.fixture(scope="module")
def ask() -> Callable[[list[bytes]], dict[str, np.ndarray]]:
    """Rows as a server runs them: in a session."""
    graph = tf.Graph()
    with graph.as_default():
        rows = tf.compat.v1.placeholder(tf.string, [None])
        outputs = preprocessing.decode_rows(rows, 64, 64, LIMIT)
    call = tf.compat.v1.Session(graph=graph).make_callable(list(outputs), [rows])
    return lambda files: dict(zip(("images", "valid"), call(np.array(files, object))))


def _file(size: tuple[int, int], file_format: str, mode: str = "RGB", **options: object) -> bytes:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    picture = PIL.Image.fromarray(noise).resize(size, PIL.Image.Resampling.NEAREST).convert(mode)
    target = io.BytesIO()
    picture.save(target, file_format, **options)
    return target.getvalue()


@pytest.fixture(scope="module")
def good() -> bytes:
    return _file((64, 64), "PNG")


@pytest.mark.thorough
def test_no_hostile_file_costs_much_or_harms_its_neighbours(ask: Callable, good: bytes) -> None:
    meter = burden.Meter(os.getpid())
    costs = dict(burden.measure(ask, good, hostile.FILES, meter))
    assert costs.keys() == hostile.FILES.keys()
    assert {name: cost.faults() for name, cost in costs.items() if cost.faults()} == {}
    # the system tells both here: what is not counted cannot be too much
    assert all(cost.memory_bytes is not None for cost in costs.values())
    assert max(cost.seconds for cost in costs.values()) > 0


@pytest.mark.parametrize("name", hostile.FILES)
def test_a_hostile_file_is_refused_unless_its_pixels_are_few(
    name: str, ask: Callable, good: bytes
) -> None:
    assert ask([good, hostile.FILES[name]()])["valid"].tolist() == [True, name not in REFUSED]


def test_a_meter_sees_what_a_process_takes() -> None:
    meter = burden.Meter(os.getpid())
    meter.start()
    block = np.ones(200_000_000, np.uint8)
    while meter.stop()[1] < 0.02:
        block += 1
    del block
    memory, seconds = meter.stop()
    assert 120 * 2**20 < memory < 240 * 2**20
    assert seconds >= 0.02
    assert burden.Meter(None).stop() == (None, None)


LARGE = {
    "PNG": ("PNG", "RGB", {"compress_level": 1}),
    "PNG with alpha": ("PNG", "RGBA", {"compress_level": 1}),
    "JPEG": ("JPEG", "RGB", {}),
    "progressive JPEG": ("JPEG", "RGB", {"progressive": True}),
    "CMYK JPEG": ("JPEG", "CMYK", {}),
    "GIF": ("GIF", "P", {}),
    "BMP": ("BMP", "RGB", {}),
}


@pytest.mark.parametrize("size", [(4000, 4000), (500, 32_000), (32_000, 500)])
@pytest.mark.parametrize("kind", LARGE)
def test_a_large_picture_costs_a_few_times_its_own_pixels(
    kind: str, size: tuple[int, int], ask: Callable
) -> None:
    file_format, mode, options = LARGE[kind]
    file = _file(size, file_format, mode, **options)
    ask([file])
    meter = burden.Meter(os.getpid())
    meter.start()
    assert ask([file])["valid"].tolist() == [True]
    memory, _ = meter.stop()
    own_bytes = size[0] * size[1] * 3
    assert memory <= hostile.FRAME_FACTOR * own_bytes + hostile.MEMORY_BYTES + len(file)


def _examined(*files: bytes) -> tuple[list[int], list[str]]:
    found = examine(tf.constant(list(files), tf.string, shape=[len(files)]), LIMIT)
    texts = problem_text(found, LIMIT).numpy()
    return pixels(found).numpy().tolist(), [text.decode() for text in texts]


@pytest.mark.parametrize("kind", LARGE)
def test_the_size_is_known_before_a_file_is_decoded(kind: str) -> None:
    file_format, mode, options = LARGE[kind]
    assert _examined(_file((123, 45), file_format, mode, **options)) == ([123 * 45], [""])


def test_the_size_of_a_jpeg_is_found_behind_whatever_precedes_it() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    thumbnail = _file((160, 120), "JPEG")
    file = _file((123, 45), "JPEG", exif=exif.tobytes(), icc_profile=b"x" * 70_000)
    note = b"\xff\xe5" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail
    filled = b"\xff\xff\xff\xff"
    for odd in (file, file[:2] + note + file[2:], file[:2] + filled + file[2:]):
        assert _examined(odd) == ([123 * 45], [""])
    # what only its decoder can tell is not guessed
    assert _examined(file[:20] + b"rubbish" + file[20:]) == ([0], [""])


def _at_once(*files: bytes) -> int:
    found = examine(tf.constant(list(files)), LIMIT)
    return int(preprocessing._rows_at_once(found))


@pytest.mark.thorough
def test_large_pictures_of_a_request_are_decoded_few_at_a_time(good: bytes) -> None:
    large = _file((7000, 7000), "JPEG", "L")
    middling = _file((4000, 3000), "JPEG", "L")
    assert _at_once(good, good) == preprocessing.ROWS_AT_ONCE
    assert _at_once(good, middling) == 8
    assert _at_once(good, large, good) == 2
    # a size that is not known may be any
    assert _at_once(good, large[:20] + b"rubbish" + large[20:]) == 1
    # a file that is refused is not decoded at all
    assert _at_once(good, hostile.FILES["gif_canvas_60000x60000"]()) == preprocessing.ROWS_AT_ONCE


def _jpeg_of_scans(extra: int) -> bytes:
    return hostile._jpeg_of_scans(64, extra)


def test_a_jpeg_of_many_scans_is_refused_by_graph_and_client() -> None:
    usual = _file((64, 64), "JPEG", progressive=True).count(b"\xff\xda")
    most, more = (_jpeg_of_scans(MAX_JPEG_SCANS - usual + by) for by in (0, 1))
    assert _examined(most)[1] == [""]
    assert _examined(more)[1] == [f"a JPEG of more than {MAX_JPEG_SCANS} scans; save it again"]
    assert read_header(most).obstacle is None
    with pytest.raises(ImageError, match=f"of more than {MAX_JPEG_SCANS} scans"):
        check_header(read_header(more), max_pixels=LIMIT, name="more.jpg")


def test_the_marks_of_scans_elsewhere_do_not_count() -> None:
    marks = b"\xff\xda" * (2 * MAX_JPEG_SCANS)
    file = _file((64, 64), "JPEG")
    note = b"\xff\xe5" + struct.pack(">H", 2 + len(marks)) + marks
    film = file + b"a film" + marks
    for odd in (file[:2] + note + file[2:], film):
        assert _examined(odd)[1] == [""]
        assert read_header(odd).obstacle is None


def test_a_png_is_decoded_without_its_comments_and_profile(ask: Callable, good: bytes) -> None:
    text = PIL.PngImagePlugin.PngInfo()
    text.add_text("note", "IDAT " * 100)
    text.add_itxt("more", "x" * 1000, zip=True)
    palette = PIL.Image.open(io.BytesIO(good)).convert("P")
    for options in ({"pnginfo": text}, {"icc_profile": b"x" * 5000}):
        for picture in (PIL.Image.open(io.BytesIO(good)), palette):
            plain, dressed = io.BytesIO(), io.BytesIO()
            picture.save(plain, "PNG")
            picture.save(dressed, "PNG", **options)
            answers = ask([plain.getvalue(), dressed.getvalue()])
            assert answers["valid"].all()
            np.testing.assert_array_equal(*answers["images"])


def _gif(*, at: int, content: bytes) -> bytes:
    """A GIF of 24x20 pixels in 16 colours; `content` takes the place of bytes from `at` on.

    Where `at` is negative, it counts from the first frame's mark.
    """
    noise = np.random.default_rng(2).integers(0, 256, (20, 24, 3), np.uint8)
    picture = PIL.Image.fromarray(noise).quantize(16)
    target = io.BytesIO()
    picture.save(target, "GIF", transparency=3, comment=b"a note", background=2)
    file = bytearray(target.getvalue())
    place = at if at >= 0 else file.index(b",", 13 + 3 * 16) - at
    file[place : place + len(content)] = content
    return bytes(file)


def test_transparent_pixels_of_a_gif_have_their_palettes_colour_as_in_pillow() -> None:
    file = _gif(at=0, content=b"GIF89a")
    with PIL.Image.open(io.BytesIO(file)) as picture:
        assert picture.info["transparency"] == 3
        expected = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(preprocessing.decode(tf.constant(file), LIMIT), expected)


@pytest.mark.parametrize(
    ("at", "content"),
    [(6, b"\x30\0\x28\0"), (6, b"\5\0\5\0"), (-1, b"\1\0\0\0"), (-3, b"\2\0")],
    ids=["larger canvas", "smaller canvas", "moved across", "moved down"],
)
def test_a_gif_whose_first_frame_is_not_its_canvas_is_refused_by_graph_and_client(
    at: int, content: bytes
) -> None:
    file = _gif(at=at, content=content)
    assert "whose first frame is not its whole canvas" in _examined(file)[1][0]
    assert "whose first frame is not its whole canvas" in read_header(file).obstacle


def _damaged(file: bytes, random: np.random.Generator) -> bytes:
    """A file with bytes changed, cut out, put in or cut off, mostly near its beginning."""
    content = bytearray(file)
    for _ in range(random.integers(1, 4)):
        at = int(random.integers(0, max(1, min(len(content), random.choice([8, 60, 4000])))))
        lie = bytes(random.choice([[0xFF] * 4, [0x7F, 0xFF, 0xFF, 0xFE], [0] * 4]).tolist())
        change = random.integers(0, 4)
        if change == 0:
            content[at : at + 4] = lie
        elif change == 1:
            del content[at : at + int(random.integers(1, 40))]
        elif change == 2:
            content[at:at] = random.bytes(9)
        else:
            del content[at:]
    return bytes(content)


def test_looking_at_files_never_fails_whatever_their_bytes_are() -> None:
    look = tf.function(
        lambda rows: examine(rows, LIMIT).problem,
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    random = np.random.default_rng(4)
    files = [
        _file((40, 37), file_format, mode, **options)
        for file_format, mode, options in LARGE.values()
    ]
    for number in range(400):
        rows = [_damaged(files[index], random) for index in random.integers(0, len(files), 3)]
        rows = rows[: 1 + 2 * (number % 2)]
        assert look(tf.constant(rows)).shape == (len(rows),)
