"""What is in the header of an image file: format, size, channels, orientation.

    header = read_header(content)
    check_header(header, max_pixels=50_000_000, name="cell.png")

It is for refusing a file before it is sent: a small one that holds a huge picture, one of a
foreign format, one that the served graph cannot decode. It needs no Pillow, reads a few hundred
bytes, takes microseconds, and allocates nothing of the size that a header claims. The pixels
behind a good header may still be broken.

Sources: ITU-T T.81 annex B (JPEG), CIPA DC-008 4.6 (Exif), the PNG specification 5 and 11, the
GIF89a specification, Microsoft's "Bitmap Storage". The readers accept what libjpeg, libpng and
giflib accept, such as rubbish between segments: what the graph decodes must pass here.
"""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from tfs_client import contract
from tfs_client.errors import ImageError

Content: TypeAlias = bytes | memoryview

MAX_BLOCKS: Final = 10_000
"""A file with more segments, chunks or blocks than this before its pixels is refused: a hundred
times what real ones have, and some milliseconds."""


TOO_LARGE: Final = "The picture is too large: send a smaller one."
BROKEN: Final = "The picture's file is broken or incomplete: save or send it again."
"""What callers of a service are told; see ImageError.public."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureHeader:
    """One picture, as its file describes it."""

    format: str
    """one of contract.IMAGE_FORMATS"""
    width: int
    """pixels as stored, before `orientation` is applied; of a GIF: what holds canvas and frame 1"""
    height: int
    """pixels"""
    channels: int
    """1 grey, 2 grey + alpha, 3 RGB, 4 RGBA or CMYK, as stored but with palettes expanded: to 3, to
    4 for a PNG that gives its palette alpha (tRNS), to 1 for a BMP of 256 grey levels; 4 for each
    BMP of 32 bits; a JPEG may claim other numbers; a PNG's transparent colour is no channel"""
    bits: int
    """of one channel's sample; with a palette: of its index; 5 for a BMP of 16 bits a pixel"""
    orientation: int = 1
    """Exif's, 1-8: how the pixels have to be turned to stand upright; 1 where Exif says nothing
    (XMP is not looked at)"""
    obstacle: str | None = None
    """why the served graph cannot decode it, such as "of 16 bits a pixel", as far as the header
    tells: a JPEG that is lossless or hierarchical, not of 8 bits and 1, 3 or 4 channels, or of more
    scans than contract.MAX_JPEG_SCANS; a GIF whose first frame does not fill its canvas; a BMP
    that is compressed, of OS/2, of 1, 2, 4 or 16 bits, or of 8 without a plain grey palette"""


def read_header(content: Content) -> PictureHeader:
    """What the header of an image file says.

    Args:
        content: the whole file, or its beginning: up to the pixels, with whatever lies before them.

    Raises:
        ImageError: another format (it is named if it is a usual one), a header that is cut off,
            or one with values that cannot be.
    """
    if isinstance(content, memoryview):  # of any shape, but its bytes are meant
        content = content.cast("B") if content.c_contiguous and content.nbytes else bytes(content)
    start = bytes(content[:8])
    for magic, kind, read in _READERS:
        if start.startswith(magic):
            return _read(kind, read, content)
    *others, last = contract.IMAGE_FORMATS
    raise ImageError(
        f"Expected a {', '.join(others)} or {last} file. Received: {len(content)} bytes"
        f"{_foreign(bytes(content[:1024]))}",
        public=f"Not a picture of a format that is taken: {', '.join(others)} or {last}.",
    )


def check_header(header: PictureHeader, *, max_pixels: int, name: str) -> None:
    """Refuses a picture that the served graph would refuse, as far as the header shows it.

    Args:
        header: as read_header returns it.
        max_pixels: largest width times height.
        name: of the file, for the error's sentence.

    Raises:
        ImageError: more pixels than allowed, or a variant that the graph cannot decode.
    """
    if header.width * header.height > max_pixels:
        raise ImageError(
            f"Expected a picture of at most {max_pixels} pixels. "
            f"Received: {name} of {header.width}x{header.height}; make it smaller",
            public=TOO_LARGE,
        )
    if header.obstacle is not None:
        raise ImageError(
            "Expected a picture that the model's graph can decode. "
            f"Received: {name}, a {header.format} {header.obstacle}; save it as PNG",
            public=f"The picture is a {header.format} {header.obstacle}: save it as PNG.",
        )


# --- the four formats ---------------------------------------------------------------------------

_Facts: TypeAlias = tuple[int, int, int, int, int, str | None]
"""Width, height, channels, bits, orientation, obstacle."""


def _read(kind: str, read: Callable[[Content], _Facts], content: Content) -> PictureHeader:
    try:
        width, height, channels, bits, orientation, obstacle = read(content)
    except (struct.error, IndexError) as error:
        raise ImageError(
            f"Expected a whole {kind} file. Received: {len(content)} bytes that end before its "
            "pixels begin; transfer or save it again",
            public=BROKEN,
        ) from error
    if not (0 < width < 2**31 and 0 < height < 2**31):
        raise _nonsense(f"a {kind} with pixels", f"{width}x{height}", content)
    return PictureHeader(
        format=kind,
        width=width,
        height=height,
        channels=channels,
        bits=bits,
        orientation=orientation,
        obstacle=obstacle,
    )


def _nonsense(expected: str, received: str, content: Content) -> ImageError:
    return ImageError(
        f"Expected {expected}. "
        f"Received: {received} in a file of {len(content)} bytes; save it again",
        public=BROKEN,
    )


_JPEG_MARKER: Final = re.compile(rb"(?<=\xff)[^\x00\xff]")
"""After rubbish, stuffed zeros and fill bytes, as libjpeg's next_marker looks for it."""

_JPEG_MARKER_IN_PIXELS: Final = re.compile(rb"(?<=\xff)[^\x00\xff\xd0-\xd7]")
"""Where the restart marks of the pixels are passed over too."""

_JPEG_WITHOUT_LENGTH: Final = frozenset((0x01, *range(0xD0, 0xD9)))
_JPEG_SIZES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_DECODED: Final = frozenset((0xC0, 0xC1, 0xC2, 0xC9, 0xCA))
"""Baseline, extended and progressive; the last two with arithmetic coding."""


def _read_jpeg(content: Content) -> _Facts:
    frame, orientation, position = None, None, 2
    for _ in range(MAX_BLOCKS):
        found = _JPEG_MARKER.search(content, position + 1)
        if found is None:
            raise IndexError
        marker, position = content[found.start()], found.end()
        if marker in (0xDA, 0xD9):  # the pixels, or the end
            break
        if marker in _JPEG_WITHOUT_LENGTH:
            continue
        length = int.from_bytes(content[position : position + 2], "big")
        if marker in _JPEG_SIZES:
            frame = (marker, *struct.unpack_from(">BHHB", content, position + 2))
        elif marker == 0xE1 and content[position + 2 : position + 8] == b"Exif\0\0":
            # The small picture in it, which has a size of its own, is passed over with it.
            orientation = orientation or _orientation(content[position + 8 : position + length])
        position += max(length, 2)
    if frame is None or marker != 0xDA:
        raise _nonsense("a JPEG with a size and then pixels", "no such order", content)
    marker, bits, height, width, channels = frame
    obstacle = None
    if marker not in _JPEG_DECODED:
        obstacle = "that is lossless or hierarchical"
    elif bits != 8:
        obstacle = f"of {bits} bits a sample"
    elif channels not in (1, 3, 4):
        obstacle = f"of {channels} channels"
    elif _has_many_scans(content):
        obstacle = f"of more than {contract.MAX_JPEG_SCANS} scans"
    return width, height, channels, bits, orientation or 1, obstacle


def _has_many_scans(content: Content) -> bool:
    """Whether a decoder would go over the pixels more often than the graph allows."""
    scan = b"\xff\xda"
    whole = content if isinstance(content, bytes) else bytes(content)
    if whole.count(scan) <= contract.MAX_JPEG_SCANS:
        return False
    # The same two bytes may stand elsewhere: in a profile, or in a film behind the picture.
    scans, position = 0, 0
    while scans <= contract.MAX_JPEG_SCANS:
        found = _JPEG_MARKER_IN_PIXELS.search(whole, position + 1)
        if found is None or found[0] == b"\xd9":
            return False
        marker, position = found[0][0], found.end()
        scans += marker == 0xDA
        if marker not in _JPEG_WITHOUT_LENGTH:
            position += max(int.from_bytes(whole[position : position + 2], "big"), 2)
    return True


def _orientation(tiff: Content) -> int:
    """From Exif, which is a TIFF of its own; 1 where it says nothing or is broken."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(tiff[:4]))
    try:
        if order:
            (directory,) = struct.unpack_from(order + "I", tiff, 4)
            (count,) = struct.unpack_from(order + "H", tiff, directory)
            for position in range(directory + 2, directory + 2 + 12 * count, 12):
                tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, position)
                if tag == 0x0112:  # Orientation; its type is SHORT
                    return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


_PNG_CHANNELS: Final = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_PNG_BITS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""By colour type: grey, RGB, palette, grey + alpha, RGBA."""


def _read_png(content: Content) -> _Facts:
    first, width, height, bits, colour, *methods = struct.unpack_from(">8sII5B", content, 8)
    if first != b"\0\0\0\rIHDR" or bits not in _PNG_BITS.get(colour, ()) or max(methods) > 1:
        raise _nonsense("a PNG", "a header that no PNG has", content)
    channels, orientation, pixels_begun, position = _PNG_CHANNELS[colour], 1, False, 33
    for _ in range(MAX_BLOCKS):
        if pixels_begun and position + 8 > len(content):
            break
        length, kind = struct.unpack_from(">I4s", content, position)
        if kind == b"IDAT":
            pixels_begun = True
        elif kind == b"tRNS" and colour == 3:
            channels = 4
        elif kind == b"eXIf":  # before the pixels or behind them
            orientation = _orientation(content[position + 8 : position + 8 + length])
        elif kind == b"IEND":
            break
        position += 12 + length
    if not pixels_begun:
        raise _nonsense("a PNG with pixels", "none", content)
    return width, height, channels, bits, orientation, None


def _read_gif(content: Content) -> _Facts:
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    position = 13 + (6 << (flags & 7) if flags & 0x80 else 0)  # behind the palette of all frames
    in_extension = False
    for _ in range(MAX_BLOCKS):
        byte = content[position]
        if in_extension:  # so many bytes follow, and then the next part of it; 0 ends it
            position += 1 + byte
            in_extension = byte > 0
        elif byte == 0x21:
            position += 2
            in_extension = True
        else:
            break
    if in_extension or byte != 0x2C:
        raise _nonsense("a GIF with a frame", "none", content)
    left, top, frame_width, frame_height, own = struct.unpack_from("<4HB", content, position + 1)
    if 0 in (width, height, frame_width, frame_height):
        raise _nonsense("a GIF with pixels", "an empty frame or canvas", content)
    bits = ((own if own & 0x80 else flags) & 7) + 1
    obstacle = None
    # TensorFlow would not place the frame on the canvas, and make room for it all the same.
    if (left, top, frame_width, frame_height) != (0, 0, width, height):
        obstacle = "whose first frame is not its whole canvas"
    return max(width, frame_width), max(height, frame_height), 3, bits, 1, obstacle


@functools.cache
def _bmp_grey_palettes() -> tuple[bytes, ...]:
    """Blue, green, red and a spare byte: 0, or the level again (Pillow before 11.3)."""
    return tuple(
        b"".join(bytes((level, level, level, spare(level))) for level in range(256))
        for spare in (lambda level: 0, lambda level: level)
    )


def _read_bmp(content: Content) -> _Facts:
    (header_bytes,) = struct.unpack_from("<I", content, 14)
    if header_bytes == 12:  # OS/2's; all others begin with the same fields
        width, height, _, pixel_bits = struct.unpack_from("<4H", content, 18)
        obstacle, compression = "with a header of OS/2", 0
    else:
        width, height, _, pixel_bits, compression = struct.unpack_from("<iiHHI", content, 18)
        obstacle = None
    if pixel_bits not in (1, 2, 4, 8, 16, 24, 32):
        raise _nonsense("a BMP of 1 to 32 bits a pixel", f"{pixel_bits} bits", content)
    channels, bits = 4 if pixel_bits == 32 else 3, 5 if pixel_bits == 16 else min(pixel_bits, 8)
    if pixel_bits == 8 and content[54 : 54 + 1024] in _bmp_grey_palettes():
        channels = 1
    # TensorFlow reads neither compression nor palettes, and the graph refuses both.
    if compression:
        obstacle = f"with compression {compression}"
    elif pixel_bits not in (8, 24, 32):
        obstacle = f"of {pixel_bits} bits a pixel"
    elif pixel_bits == 8 and channels != 1:
        obstacle = "without a palette of 256 grey levels at byte 54"
    # The height is negative where the rows run from the top down.
    return width, abs(height), channels, bits, 1, obstacle


_READERS: Final[tuple[tuple[bytes, str, Callable[[Content], _Facts]], ...]] = (
    (b"\xff\xd8\xff", "JPEG", _read_jpeg),
    (b"\x89PNG\r\n\x1a\n", "PNG", _read_png),
    (b"GIF8", "GIF", _read_gif),
    (b"BM", "BMP", _read_bmp),
)
"""By the first bytes, as in the graph."""


# --- all others ---------------------------------------------------------------------------------

_SAVE = "save it as PNG"
_UNPACK = "unpack it and send the pictures in it"
_BINARY = "read and send the file in binary mode"
_ERROR_PAGE = "look into it: an error page may have been saved under a picture's name"
_TEXT = rb"(?i:(?:\xef\xbb\xbf)?\s*"

_FOREIGN: Final = (
    (rb"RIFF....WEBP", "WEBP", _SAVE),
    (rb"II[*+]\x00|MM\x00[*+]", "TIFF", _SAVE),
    (rb"....ftyp.{0,40}avi[fs]", "AVIF", _SAVE),
    (rb"....ftyp(hei|hev|mif1|msf1)", "HEIC", _SAVE),
    (rb"....ftyp", "a video", "send one of its frames as PNG"),
    (rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000", _SAVE),
    (rb"\x00\x00\x00\x0cJXL |\xff\x0a", "JPEG XL", _SAVE),
    (rb"\x00\x00\x01\x00", "an icon (ICO)", _SAVE),
    (rb"8BPS", "PSD", _SAVE),
    (rb"%PDF", "PDF", _SAVE),
    (rb"PK\x03\x04", "ZIP", _UNPACK),
    (rb"\x1f\x8b", "gzip", _UNPACK),
    (
        rb"\xc3\xbf\xc3\x98|(\xc2|\xef\xbf\xbd)\x89?PNG|(\xef\xbf\xbd){2}",
        "a picture read as text",
        _BINARY,
    ),
    (rb"\x89PNG(\n|\r\r)", "a PNG with other line ends", _BINARY),
    (rb"/9j/|iVBORw0KGg|R0lGOD|data:", "base64 text", "decode it first"),
    (rb"version https://git-lfs", "a Git LFS pointer", "fetch the file: git lfs pull"),
    (_TEXT + rb"(<\?xml.*|<!--.*|<!doctype svg.*)?<svg)", "SVG", _SAVE),
    (_TEXT + rb"<(!doctype html|html|head|body))", "HTML", _ERROR_PAGE),
    (_TEXT + rb"<\?xml)", "XML", _ERROR_PAGE),
    (_TEXT + rb"[{\[]\s*[\"{\[\]}\d])", "JSON", _ERROR_PAGE),
)
"""Beginnings of files that are sent by mistake, in the order in which they are tried."""


def _foreign(start: bytes) -> str:
    """What follows "Received: 1234 bytes": what the file is in place of a picture, and the fix."""
    if not start:
        return "; look whether the file has been written"
    for pattern, name, fix in _FOREIGN:
        if re.match(pattern, start, re.DOTALL):
            return f" that begin as {name}; {fix}"
    return f" that begin with {start[:8].hex(' ')}; save it as PNG"
