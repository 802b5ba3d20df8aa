"""Small pictures for a page, read by the decoder that training and the served graph have too.

Another reader takes other files: Pillow refuses a PNG with a large colour profile, for one, that
training took without a word.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from training.data import preprocessing

PIXELS = 112
"""Of a picture on a page."""


def thumbnail(file: Path, max_pixels: int, pixels: int = PIXELS) -> np.ndarray:
    """Reads a picture and makes it small; a small one keeps its size.

    Args:
        file: of a picture.
        max_pixels: largest height times width of the file.
        pixels: at most so many on each side.

    Returns:
        uint8 [h, w, 3], RGB, in the file's proportions.

    Raises:
        OSError: the file cannot be read.
        tf.errors.OpError: it cannot be decoded.
    """
    image = preprocessing.decode(tf.constant(file.read_bytes()), max_pixels)
    height, width, _ = image.shape
    share = min(1.0, pixels / max(height, width))
    size = [max(1, round(side * share)) for side in (height, width)]
    return preprocessing.resize(image, *size).numpy()
