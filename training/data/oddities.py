"""What is odd about a picture that can be used: it may not mean here what it means elsewhere.

    found = oddities.of(content, pixels)   -> [(ORIENTED, "orientation 6")]

Training counts them and warns once for each kind. Needs no TensorFlow.
"""

from __future__ import annotations

import contextlib
import io

import numpy as np
import PIL.GifImagePlugin
import PIL.Image
import PIL.JpegImagePlugin
import PIL.PngImagePlugin

ORIENTED = (
    "pictures have an Exif orientation, which is not applied: they are learned as they are stored, "
    "which is not how viewers show them; turn the pixels and save them again"
)
SHALLOW = (
    "PNGs of 16 bits use 14 or fewer of them (a camera's 10 or 12, say): the upper 8 bits are "
    "learned, so few grey levels are left; scale them to the full range"
)
TRANSPARENT = (
    "pictures have transparent pixels: transparency is dropped, and other programs may show "
    "another colour there; save them on a ground of your choice"
)
_ORIENTATION = 0x0112
_SHALLOW_BELOW = 64
"""Upper bytes of a picture of 14 bits: 0-63."""


def of(content: bytes, pixels: np.ndarray) -> list[tuple[str, str]]:
    """Looks at one picture.

    Args:
        content: the whole file.
        pixels: uint8 [h, w, 1 | 3], as training decodes it.

    Returns:
        a kind and a detail for people, for each kind that applies; a kind that Pillow cannot tell
        of this file is left out.
    """
    found = []
    for magic, kind, look in _LOOKS:
        # Pillow raises many kinds of errors, and whatever it says, the picture can be used.
        with contextlib.suppress(Exception):
            detail = look(content, pixels) if content.startswith(magic) else None
            if detail:
                found.append((kind, detail))
    return found


# Pillow's plug-ins by name: Image.open would warn of large pictures, whose limit is the run's own.


def _jpeg_orientation(content: bytes, pixels: np.ndarray) -> str | None:
    if b"Exif\0\0" not in content:
        return None
    return _orientation(PIL.JpegImagePlugin.JpegImageFile(io.BytesIO(content)))


def _png_orientation(content: bytes, pixels: np.ndarray) -> str | None:
    if b"eXIf" not in content and b"profile type exif" not in content:
        return None
    return _orientation(PIL.PngImagePlugin.PngImageFile(io.BytesIO(content)))


def _orientation(image: PIL.Image.Image) -> str | None:
    orientation = image.getexif().get(_ORIENTATION, 1)
    return f"orientation {orientation}" if orientation in range(2, 9) else None


def _levels_left(content: bytes, pixels: np.ndarray) -> str | None:
    if content[24] != 16 or pixels.max() >= _SHALLOW_BELOW:
        return None
    levels = np.count_nonzero(np.bincount(pixels.ravel(), minlength=256))
    return f"{levels} levels are left"


def _png_transparency(content: bytes, pixels: np.ndarray) -> str | None:
    """Of an alpha channel, or of alpha in the palette."""
    if content[25] not in (4, 6) and not (content[25] == 3 and b"tRNS" in content):
        return None
    image: PIL.Image.Image = PIL.PngImagePlugin.PngImageFile(io.BytesIO(content))
    alpha = (image.convert("RGBA") if image.mode == "P" else image).getchannel("A")
    counts = alpha.histogram()
    return _share(sum(counts[:255]) / sum(counts))


def _gif_transparency(content: bytes, pixels: np.ndarray) -> str | None:
    image = PIL.GifImagePlugin.GifImageFile(io.BytesIO(content))
    index = image.info.get("transparency")
    return None if index is None else _share(float(np.mean(np.asarray(image) == index)))


def _share(of_pixels: float) -> str | None:
    return f"{of_pixels:.1%} of its pixels" if of_pixels else None


_LOOKS = (
    (b"\xff\xd8", ORIENTED, _jpeg_orientation),
    (b"\x89PNG", ORIENTED, _png_orientation),
    (b"\x89PNG", SHALLOW, _levels_left),
    (b"\x89PNG", TRANSPARENT, _png_transparency),
    (b"GIF8", TRANSPARENT, _gif_transparency),
)
