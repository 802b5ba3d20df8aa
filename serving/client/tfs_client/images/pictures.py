"""A caller's pictures, checked and made ready to be sent.

A file (path, content or open file) is sent unchanged once its header was checked; pixels (arrays,
Pillow images) are sent as they are where they have the version's size, else resized.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from tfs_client.errors import ImageError, RequestError
from tfs_client.images.headers import check_header, read_header
from tfs_client.images.pixels import (
    MAX_FILE_BYTES,
    MAX_PIXELS,
    ImageSource,
    Pixels,
    check_size,
    checked_pixels,
    describe,
    image_to_array,
    is_file,
    is_pillow,
    read_file,
    upright,
)

Orientation: TypeAlias = Literal["ignore", "apply", "refuse"]

_TURNED: Final = "The picture does not stand upright as it is stored: turn it and save it again."

BATCH_BYTES: Final = 32 * 2**20
"""Most bytes of files in one request, whatever their number (but one file is always sent)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture that can be sent, or the reason why it cannot."""

    source: str
    """Its path; empty where none was given."""
    content: bytes | None = None
    """The whole file, to be sent as it is."""
    pixels: Any = None
    """An array [H, W, 3] or a Pillow image, to be resized where that is needed."""
    problem: ImageError | OSError | None = None

    @property
    def weight(self) -> int:
        """Bytes that it adds to a request; pixels are small once they are resized, and count 0."""
        return len(self.content or b"")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guards:
    """What is checked before a picture is sent.

    Raises:
        RequestError: a limit below 1, or an unknown orientation.
    """

    max_file_bytes: int = MAX_FILE_BYTES
    """A larger file is refused before it is read."""
    max_pixels: int = MAX_PIXELS
    """A larger picture is refused by its header: a small file can hold a huge picture."""
    orientation: Orientation = "ignore"
    """What to do with a picture whose EXIF says that it must be turned: "ignore" it, as in training
    and in the model's graph; "apply" it here, with Pillow, and send pixels; or "refuse" the
    picture."""

    def __post_init__(self) -> None:
        """Checks the settings."""
        if self.orientation not in ("ignore", "apply", "refuse"):
            raise RequestError(
                'Expected orientation as "ignore", "apply" or "refuse". '
                f"Received: orientation={self.orientation!r}"
            )
        if self.max_file_bytes < 1 or self.max_pixels < 1:
            raise RequestError(
                "Expected max_file_bytes and max_pixels above 0. "
                f"Received: {self.max_file_bytes} and {self.max_pixels}"
            )

    def prepare(self, source: ImageSource) -> Picture:
        """Reads and checks one picture.

        Returns:
            The picture, or its problem where its content is at fault.

        Raises:
            RequestError: the source is no kind of picture, which is the caller's mistake.
        """
        name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else ""
        try:
            if isinstance(source, np.ndarray):
                return Picture(source=name, pixels=checked_pixels(source, self.max_pixels))
            if is_pillow(source):
                check_size(source.width, source.height, self.max_pixels)
                return Picture(source=name, pixels=self._turned(source, "a Pillow image"))
            if not is_file(source):
                raise RequestError(
                    "Expected an image as a path, bytes, an open file, a uint8 array [H, W, 3] or "
                    f"a Pillow image. Received: {describe(source)}"
                )
            content = read_file(source, self.max_file_bytes)
            header = read_header(content)
            check_header(header, max_pixels=self.max_pixels, name=name or "a file")
            if header.orientation != 1 and self.orientation != "ignore":
                return self._turned_file(content, header.orientation, name)
        except (ImageError, OSError) as problem:
            return Picture(source=name, problem=problem)
        return Picture(source=name, content=content)

    def _turned_file(self, content: bytes, orientation: int, name: str) -> Picture:
        if self.orientation == "refuse":
            raise ImageError(
                "Expected a picture that stands upright as it is stored. Received: "
                f"{name or 'a file'} with the EXIF orientation {orientation}; turn it and save it "
                'again, or say orientation="apply"',
                public=_TURNED,
            )
        return Picture(source=name, pixels=upright(content, self.max_pixels))

    def _turned(self, image: Any, name: str) -> Any:
        orientation = image.getexif().get(0x0112, 1)
        if self.orientation == "ignore" or orientation == 1:
            return image
        if self.orientation == "refuse":
            raise ImageError(
                "Expected a picture that stands upright as it is stored. "
                f"Received: {name} with the EXIF orientation {orientation}; "
                "PIL.ImageOps.exif_transpose turns it",
                public=_TURNED,
            )
        return upright(image, self.max_pixels)

    def prepare_some(self, sources: Sequence[ImageSource], start: int, most: int) -> list[Picture]:
        """The pictures for one request: from sources[start] on, at most `most` and BATCH_BYTES."""
        pictures: list[Picture] = []
        size = 0
        for source in sources[start : start + most]:
            picture = self.prepare(source)
            if pictures and size + picture.weight > BATCH_BYTES:
                break
            pictures.append(picture)
            size += picture.weight
        return pictures


def costs_time(sources: Sequence[ImageSource]) -> bool:
    """Whether reading or checking them takes the disk or the processor for long."""
    return any(
        isinstance(source, (str, os.PathLike)) or hasattr(source, "read") or is_pillow(source)
        for source in sources
    )


def stack(pictures: Sequence[Picture], size: tuple[int, int]) -> Pixels:
    """The pixels of several pictures, resized to (height, width): uint8 [N, height, width, 3]."""
    return np.stack([image_to_array(picture.pixels, size) for picture in pictures])


def kept(pictures: Sequence[Picture]) -> list[Picture]:
    """The same pictures, with copies of pixels that their caller may write over meanwhile."""
    return [
        one if one.pixels is None else dataclasses.replace(one, pixels=one.pixels.copy())
        for one in pictures
    ]


def fit(pictures: Sequence[Picture], size: tuple[int, int]) -> bool:
    """Whether all have this size already, so that stacking them is quick."""
    return all(
        isinstance(picture.pixels, np.ndarray) and picture.pixels.shape == (*size, 3)
        for picture in pictures
    )
