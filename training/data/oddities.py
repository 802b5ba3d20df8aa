"""What is odd about a picture that can be used: it may not mean here what it means elsewhere.

    found = oddities.of(content, pixels)   -> [(ORIENTED, "orientation 6")]

Training counts them and warns once for each kind. Needs no TensorFlow.
"""

from __future__ import annotations

import contextlib
import io
import struct

import numpy as np
import PIL.GifImagePlugin
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
    "GIFs have transparent pixels: transparency is dropped, and other programs may show another "
    "colour there; save them as PNG on a ground of your choice"
)
CANVAS = (
    "GIFs have a first frame that does not fill their canvas, or later frames larger than it: "
    "programs differ about their size and about what lies around; save the frame as PNG"
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
        a kind and a detail for people, for each kind that applies; nothing where Pillow cannot read
        what it takes to know.
    """
    with contextlib.suppress(Exception):  # Pillow raises many kinds, and the picture can be used
        if content.startswith(b"GIF8"):
            return _of_gif(content, pixels)
        return _oriented(content) + _shallow(content, pixels)
    return []


def _oriented(content: bytes) -> list[tuple[str, str]]:
    # By the plug-ins: Image.open would warn of large pictures, whose limit is the run's own.
    if content.startswith(b"\xff\xd8") and b"Exif\0\0" in content:
        exif = PIL.JpegImagePlugin.JpegImageFile(io.BytesIO(content)).getexif()
    elif content.startswith(b"\x89PNG") and (b"eXIf" in content or b"profile type exif" in content):
        exif = PIL.PngImagePlugin.PngImageFile(io.BytesIO(content)).getexif()
    else:
        return []
    orientation = exif.get(_ORIENTATION, 1)
    return [(ORIENTED, f"orientation {orientation}")] if orientation in range(2, 9) else []


def _shallow(content: bytes, pixels: np.ndarray) -> list[tuple[str, str]]:
    if not content.startswith(b"\x89PNG") or content[24] != 16 or pixels.max() >= _SHALLOW_BELOW:
        return []
    levels = int(np.count_nonzero(np.bincount(pixels.ravel(), minlength=256)))
    return [(SHALLOW, f"{levels} levels are left")]


def _of_gif(content: bytes, pixels: np.ndarray) -> list[tuple[str, str]]:
    found = []
    canvas = struct.unpack_from("<HH", content, 6)
    image = PIL.GifImagePlugin.GifImageFile(io.BytesIO(content))
    frame = image.tile[0][1]
    height, width = pixels.shape[:2]
    if frame != (0, 0, *canvas) or (width, height) != canvas:
        left, top, right, bottom = frame
        found.append(
            (
                CANVAS,
                f"canvas {canvas[0]}x{canvas[1]}, first frame {right - left}x{bottom - top}, "
                f"decoded {width}x{height}",
            )
        )
    transparent = image.info.get("transparency")
    if transparent is not None:
        hidden = np.asarray(image) == transparent
        if hidden.any():
            found.append((TRANSPARENT, f"{hidden.mean():.0%} of its pixels"))
    return found
