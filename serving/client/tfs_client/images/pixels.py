"""Pictures to bytes and to pixels: reading, checking, and the decoding that the model's graph does.

Pillow is imported only where a picture has to be decoded or resized.
"""

from __future__ import annotations

import io
import os
import sys
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias, Union

import numpy as np

from tfs_client import contract
from tfs_client.errors import DtypeError, ImageError, PillowMissingError, RequestError, ShapeError
from tfs_client.images.headers import BROKEN, TOO_LARGE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image
    from typing_extensions import TypeIs

Pixels: TypeAlias = "NDArray[np.uint8]"
File: TypeAlias = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, IO[bytes]]
ImageSource: TypeAlias = Union[File, Pixels, "Image.Image"]

MAX_FILE_BYTES: Final = 32 * 2**20
"""A larger file is refused before it is read or sent."""

MAX_PIXELS: Final = 50_000_000
"""A larger picture is refused before it is decoded here: a small file can hold a huge picture."""

_ORIENTATION: Final = 0x0112
"""EXIF's tag of the orientation."""

_TURNS: Final = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""EXIF orientation → Pillow's operation that turns the picture upright. Pillow's exif_transpose
would copy the rest of the picture's metadata too, which is not needed here."""

_BROKEN: Final = (OSError, ValueError, SyntaxError, EOFError)
"""What Pillow raises for a broken file."""


def is_file(source: object) -> TypeIs[File]:
    """Whether it is an image file: its path, its content, or an open file."""
    return isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview)) or callable(
        getattr(source, "read", None)
    )


def read_file(source: File, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The content of an image file, neither empty nor too large.

    Args:
        source: its path, its content, or a file opened for reading bytes, which is read from its
            present position and stays open.
        max_bytes: largest size; a larger file is not read.

    Raises:
        ImageError: empty, larger than max_bytes, or opened as text.
        OSError: the file cannot be read.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        content = bytes(source)
        name, size = "bytes", len(content)
    elif isinstance(source, (str, os.PathLike)):
        from pathlib import Path  # here: those who send no files need not import it

        name, size = os.fspath(source), Path(source).stat().st_size
        content = Path(source).read_bytes() if size <= max_bytes else b""
    else:
        name = str(getattr(source, "name", "an open file"))
        content = source.read(max_bytes + 1)
        if not isinstance(content, bytes):
            raise ImageError(
                f"Expected an image file opened for bytes. Received: {name}, whose read() gives "
                f"{type(content).__name__}; open it with mode 'rb'"
            )
        size = len(content)
    if size > max_bytes:
        raise ImageError(
            f"Expected an image file of at most {max_bytes} bytes. "
            f"Received: {name} of {'more' if size == max_bytes + 1 else f'{size} bytes'}; "
            "make it smaller",
            public=TOO_LARGE,
        )
    if not content:
        raise ImageError(
            f"Expected an image file. Received: {name} of 0 bytes",
            public="The picture's file is empty.",
        )
    return content


def upright(source: bytes | Image.Image, max_pixels: int = MAX_PIXELS) -> Pixels:
    """The pixels of a picture, turned as its EXIF orientation says: uint8 [H, W, 3], RGB.

    Raises:
        ImageError: a broken picture, or one of more than max_pixels.
        PillowMissingError: Pillow is not installed.
    """
    image = _decode(source) if isinstance(source, bytes) else source
    pillow = _pillow()
    method = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    pixels = _to_rgb(image, max_pixels)
    if method is not None:
        pixels = pixels.transpose(getattr(pillow.Transpose, method))
    return np.asarray(pixels, np.uint8)


def image_to_array(source: ImageSource, size: tuple[int, int]) -> Pixels:
    """Decodes and resizes with Pillow, as the model's graph does for files.

    RGB (alpha dropped, grey and palettes expanded, the high byte of 16-bit grey), then bilinear
    with antialias. EXIF orientation is ignored, as the graph ignores it. The result is within one
    grey level of the graph's.

    Args:
        source: as ImageClassifier.predict takes it.
        size: (height, width) in pixels; Pillow's order is the other one.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        RequestError: no image; ImageError for a broken one, or one of more than MAX_PIXELS.
        PillowMissingError: Pillow is not installed (an array of the right size does not need it).
        OSError: the file cannot be read.
    """
    height, width = size
    if isinstance(source, np.ndarray):
        pixels = checked_pixels(source)
        if pixels.shape == (height, width, 3):
            return pixels
        image = _pillow().fromarray(np.ascontiguousarray(pixels))
    elif is_pillow(source):
        image = source
    elif is_file(source):
        image = _decode(read_file(source))
    else:
        raise RequestError(
            "Expected an image as a path, bytes, an open file, a uint8 array [H, W, 3] or a Pillow "
            f"image. Received: {describe(source)}"
        )
    resized = _to_rgb(image).resize((width, height), _pillow().Resampling.BILINEAR)
    return np.asarray(resized, np.uint8)


def _decode(content: bytes) -> Image.Image:
    pillow = _pillow()
    try:
        image: Image.Image = pillow.open(io.BytesIO(content), formats=contract.IMAGE_FORMATS)
        if image.width * image.height <= MAX_PIXELS:
            image.load()
    except (*_BROKEN, pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
        raise ImageError(
            f"Expected a whole {', '.join(contract.IMAGE_FORMATS)} file. "
            f"Received: {len(content)} bytes that are none: {error}",
            public=BROKEN,
        ) from error
    return image


def _to_rgb(image: Image.Image, max_pixels: int = MAX_PIXELS) -> Image.Image:
    check_size(image.width, image.height, max_pixels)
    if image.mode == "F":
        raise ImageError("Expected whole grey levels. Received: a Pillow image of mode F")
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip instead of scaling
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 65535:
            raise ImageError(
                "Expected grey levels of 16 bits. "
                f"Received: {levels.min()} to {levels.max()} in a Pillow image of mode {image.mode}"
            )
        image = _pillow().fromarray((levels >> 8).astype(np.uint8))
    return image.convert("RGB")


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuses a picture of too many pixels, or of none.

    Raises:
        ImageError: it has too many, or none.
    """
    if not 0 < width * height <= max_pixels:
        raise ImageError(
            f"Expected an image of 1 to {max_pixels} pixels. "
            f"Received: {width}x{height}; make it smaller",
            public=TOO_LARGE if width * height else BROKEN,
        )


def checked_pixels(array: NDArray[Any], max_pixels: int = MAX_PIXELS) -> Pixels:
    """Returns the array if it holds the pixels of one image.

    Raises:
        DtypeError: not uint8.
        ShapeError: not [H, W, 3], or without pixels.
        ImageError: more than max_pixels.
    """
    if array.dtype != np.uint8:
        low, high = (array.min(), array.max()) if array.size else ("no", "values")
        raise DtypeError(
            "Expected pixels as dtype uint8, 0-255. "
            f"Received: dtype={array.dtype}, {low} to {high}; scaling is done in the model"
        )
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ShapeError(
            "Expected pixels as [H, W, 3], RGB. "
            f"Received: shape={list(array.shape)}; for grey, np.stack([grey] * 3, axis=-1)"
        )
    check_size(array.shape[1], array.shape[0], max_pixels)
    return array


def is_pillow(source: object) -> TypeIs[Image.Image]:
    """Whether it is a Pillow image, without importing Pillow."""
    # A caller that has a Pillow image has imported Pillow; no other caller needs it.
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(source, module.Image)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise PillowMissingError(
            "Expected Pillow, to convert a picture to the size that the model wants. Received: no "
            "module PIL; pip install 'tfs-client[images]', or send the file instead of its pixels"
        ) from error
    return Image


def describe(source: object) -> str:
    """A received value in words, for an error's message."""
    if isinstance(source, np.ndarray):
        return f"an array of dtype={source.dtype}, shape={list(source.shape)}"
    return f"{type(source).__name__}"
