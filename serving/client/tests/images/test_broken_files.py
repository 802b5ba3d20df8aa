"""The reader of headers on files that are cut, changed, made up or hostile."""

from __future__ import annotations

import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tfs_client import contract
from tfs_client.errors import ImageError
from tfs_client.images.headers import PictureHeader, read_header

from .picture_files import MAGICS, WIDTH, exif, jpeg_with_frame, pictures, png


def read_or_refused(file: bytes) -> PictureHeader | None:
    """The header, checked to be possible; None for an ImageError. Other errors fail the test."""
    try:
        header = read_header(file)
    except ImageError as error:
        assert str(error).startswith("Expected ")  # noqa: PT017
        return None
    assert header.format in contract.IMAGE_FORMATS
    assert 0 < header.width < 2**31
    assert 0 < header.height < 2**31
    assert 1 <= header.orientation <= 8
    return header


@pytest.mark.parametrize("name", pictures())
def test_a_file_cut_anywhere_is_refused_or_keeps_its_size(name):
    file = pictures()[name].file
    whole, seen = read_header(file), set()
    for length in [*range(min(len(file), 1500)), *range(1500, len(file), 997)]:
        cut = read_or_refused(file[:length])
        assert cut is None or (cut.width, cut.height) == (whole.width, whole.height)
        seen.add(cut is None)
    assert True in seen


def test_a_header_that_is_cut_off_says_so():
    for name, length in (
        ("JPEG", 30),
        ("PNG", 24),
        ("PNG", 36),
        ("GIF", 9),
        ("GIF", 20),
        ("BMP", 20),
    ):
        with pytest.raises(ImageError) as caught:
            read_header(pictures()[name].file[:length])
        assert str(caught.value) == (
            f"Expected a whole {name} file. Received: {length} bytes that end before its pixels "
            "begin; transfer or save it again"
        )


@pytest.mark.parametrize("name", pictures())
def test_changed_bytes_raise_nothing_unexpected(name):
    file = pictures()[name].file
    random = np.random.default_rng(len(file))
    for _ in range(100):
        changed = bytearray(file)
        for place in random.integers(0, min(len(file), 700), random.integers(1, 5)):
            changed[place] = random.choice([0, 1, 0x7F, 0x80, 0xFE, 0xFF, random.integers(256)])
        read_or_refused(bytes(changed))


@given(st.sampled_from(MAGICS), st.binary(max_size=300))
def test_any_bytes_behind_a_magic_number_raise_nothing_unexpected(magic, noise):
    read_or_refused(magic + noise)
    read_or_refused(noise)


@given(st.lists(st.tuples(st.integers(1, 254), st.integers(0, 40), st.binary(max_size=20))))
def test_any_segments_raise_nothing_unexpected(segments):
    read_or_refused(
        b"\xff\xd8"
        + b"".join(
            bytes((0xFF, marker, 0, length)) + content for marker, length, content in segments
        )
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"IDAT", b"tRNS", b"eXIf", b"IEND", b"tEXt"]),
            st.sampled_from([0, 5, 2**31, 2**32 - 1]),
            st.binary(max_size=20),
        )
    )
)
def test_any_chunks_raise_nothing_unexpected(chunks):
    file = png(3, 4)[:33]
    for kind, length, content in chunks:
        file += struct.pack(">I", length) + kind + content
    read_or_refused(file)


def test_claimed_sizes_are_never_allocated():
    behind = b"\xff\xff\xff\xff"
    files = [
        png(2, 8)[:33] + behind + b"eXIf" + exif(6, ">")[6:],
        png(2, 8)[:33] + behind + b"IDAT",
        png(0, 1)[:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + png(0, 1)[24:],
        jpeg_with_frame(5, behind),
        b"\xff\xd8\xff\xe1\xff\xffExif\0\0II*\0\x08\0\0\0\xff\xff",
    ]
    tracemalloc.start()
    try:
        for file in files:
            read_or_refused(file)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_headers_are_read_without_pillow():
    script = f"""
import sys
sys.modules["PIL"] = None  # as if it were not installed
from tfs_client.images.headers import read_header
print(read_header({pictures()["GIF"].file!r}).width)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{WIDTH}\n"
