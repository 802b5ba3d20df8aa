"""Corrupts pictures as cameras, lamps and networks do, the same way each time.

    file = corrupt(file, "gaussian_blur", seed=7)

The kinds follow Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019 (arXiv:1903.12261), at one middling severity each; the
strengths are our own. Lengths are shares of the picture's shorter side, so that small and large
pictures are harmed alike.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable

import numpy as np
import PIL.Image
import PIL.ImageFilter

from tfs_client import image_to_array

NOISE_DEVIATION = 20.0
BLUR_SHARE = 0.015
BRIGHTER, DARKER = 1.35, 0.65
LESS_CONTRAST = 0.5
JPEG_QUALITY = 30
LEAST_TURN_DEGREES, MOST_TURN_DEGREES = 4.0, 8.0
PATCH_SHARE = 0.25

Corruption = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""uint8 [h, w, c] -> float or uint8 of the same shape; c is 1 for grey pictures, else 3."""


def corrupt(file: bytes, kind: str, seed: int) -> bytes:
    """Corrupts one picture.

    Args:
        file: a whole JPEG, PNG, GIF or BMP file.
        kind: one of KINDS.
        seed: with the file's content and the kind it fixes every random choice, in whatever order
            pictures come.

    Returns:
        a PNG file of the same height and width; grey stays grey.

    Raises:
        tfs_client.RequestError, OSError: Pillow cannot read the file.
    """
    pixels = decoded(file)
    key = hashlib.sha256(f"{seed} {kind} ".encode() + file).digest()
    generator = np.random.default_rng(int.from_bytes(key[:8], "big"))
    return encoded(KINDS[kind](pixels, generator))


def decoded(file: bytes) -> np.ndarray:
    """A file's pixels at their own size, as the graph decodes them: uint8 [h, w, 1 or 3]."""
    try:
        with PIL.Image.open(io.BytesIO(file)) as image:
            size = (image.height, image.width)
    except (SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise OSError(f"Pillow cannot read the file: {error}") from error
    pixels = image_to_array(file, size)
    grey = (pixels[..., :1] == pixels).all()
    return pixels[..., :1] if grey else pixels


def encoded(pixels: np.ndarray) -> bytes:
    """Pixels [h, w, 1 or 3] as a PNG file; rounded, and cut off at 0 and 255."""
    levels = np.rint(pixels).clip(0, 255).astype(np.uint8)
    target = io.BytesIO()
    # the least compression: the file is read once
    _image(levels).save(target, "PNG", compress_level=1)
    return target.getvalue()


def _gaussian_noise(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return pixels + generator.normal(0, NOISE_DEVIATION, pixels.shape)


def _gaussian_blur(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    radius = max(0.7, BLUR_SHARE * min(pixels.shape[:2]))
    return _pixels(_image(pixels).filter(PIL.ImageFilter.GaussianBlur(radius)))


def _brightness_up(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return pixels * BRIGHTER


def _brightness_down(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return pixels * DARKER


def _contrast_down(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    mean = pixels.mean()
    return mean + LESS_CONTRAST * (pixels - mean)


def _jpeg(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    target = io.BytesIO()
    _image(pixels).save(target, "JPEG", quality=JPEG_QUALITY)
    with PIL.Image.open(target) as image:
        return _pixels(image)


def _rotation(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Turned about the middle; the corners show what the mirrored border would."""
    degrees = generator.uniform(LEAST_TURN_DEGREES, MOST_TURN_DEGREES)
    degrees *= generator.choice((-1, 1))
    height, width = pixels.shape[:2]
    border = [(side // 8 + 1,) * 2 for side in (height, width)] + [(0, 0)]
    # symmetric repeats the outermost row, which even a picture of one pixel has
    padded = _image(np.pad(pixels, border, mode="symmetric"))
    turned = _pixels(padded.rotate(degrees, PIL.Image.Resampling.BILINEAR))
    top, left = border[0][0], border[1][0]
    return turned[top : top + height, left : left + width]


def _occluding_patch(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    height, width = pixels.shape[:2]
    side = max(1, round(PATCH_SHARE * min(height, width)))
    top, left = generator.integers((height - side + 1, width - side + 1))
    covered = pixels.copy()
    covered[top : top + side, left : left + side] = 127
    return covered


KINDS: dict[str, Corruption] = {
    "gaussian_noise": _gaussian_noise,
    "gaussian_blur": _gaussian_blur,
    "brightness_up": _brightness_up,
    "brightness_down": _brightness_down,
    "contrast_down": _contrast_down,
    "jpeg_quality_30": _jpeg,
    "rotation": _rotation,
    "occluding_patch": _occluding_patch,
}
"""Names are recorded in verdicts: add, but do not rename."""


def _image(pixels: np.ndarray) -> PIL.Image.Image:
    return PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _pixels(image: PIL.Image.Image) -> np.ndarray:
    array = np.asarray(image)
    return array if array.ndim == 3 else array[..., np.newaxis]
