"""A backbone's features of pictures, computed once for all runs that want the same.

Computing them is nearly all the time that a run with a backbone takes. They are kept beside the
runs, by what the picture holds: another head, fold or split costs seconds.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from foundation import files
from foundation.command_line import raise_if_interrupted
from foundation.progress import Progress
from training import publication
from training.backbones import BACKBONES
from training.config import RunConfig
from training.data import pipeline, preprocessing
from training.data.prepared import PreparedData

logger = logging.getLogger(__name__)

STORE: Final = ".features"
"""Folder beside the runs; may be removed at any time."""

BATCH: Final = 32

AS_IT_IS: Final = ""


def variants(config: RunConfig) -> list[str]:
    """The mirrored pictures that training sees beside the one as it is, as the flags say."""
    found = [AS_IT_IS]
    if config.flip_horizontal:
        found += [f"{one}h" for one in found]
    if config.flip_vertical:
        found += [f"{one}v" for one in found]
    return found


class Store:
    """Reads features from disk, and computes and adds what is missing.

    Args:
        backbone: with its weights: float32 [N, H, W, 3] → [N, F].
        weights: SHA-256 of the file that they are from.
        config: of the run.
    """

    def __init__(self, backbone: keras.Model, weights: str, config: RunConfig):
        self._config = config
        self._backbone = backbone
        self._compute = tf.function(
            lambda images: tf.cast(backbone(images, training=False), tf.float32),
            input_signature=[tf.TensorSpec([None, *backbone.input_shape[1:]], tf.float32)],
        )
        versions = publication.package_versions()
        said = {
            "weights": weights,
            "backbone": config.backbone,
            "cut": config.backbone_cut or BACKBONES[str(config.backbone)].cut,
            "size": [config.image_height, config.image_width],
            "precision": config.precision,
            "versions": [versions["tensorflow"], versions["keras"]],
        }
        name = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
        self._path = Path(config.runs) / STORE / f"{config.backbone}-{name}.npz"

    def of(self, data: PreparedData, split: str, variant: str = AS_IT_IS) -> NDArray[np.float32]:
        """The features of a split's images, in its order.

        Args:
            data: the images.
            split: train, validation or test.
            variant: one of `variants`.

        Returns:
            float32 [N, F].
        """
        content = dict(zip(data.inspection.items, data.inspection.content))
        keys = [f"{content[item]}{variant}" for item in data.splits[split]]
        known = self._read()
        missing = [place for place, key in enumerate(keys) if key not in known]
        if missing:
            found = self._computed([data.files(split)[place] for place in missing], variant, split)
            new = {keys[place]: row for place, row in zip(missing, found)}
            known |= new
            # another run may have added its own meanwhile
            self._write(self._read() | new)
        else:
            logger.info("features of the %s images: all of them kept from before", split)
        return np.stack([known[key] for key in keys])

    def _computed(self, names: Sequence[str], variant: str, split: str) -> NDArray[np.float32]:
        images = pipeline.pixels(names, [0] * len(names), self._config)
        images = images.map(
            lambda image, _: _mirrored(preprocessing.scale(image), variant),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        found = []
        with Progress(f"features, {split}", total=len(names), unit="images") as shown:
            for batch in images.batch(BATCH).prefetch(1):
                raise_if_interrupted()
                found.append(self._compute(batch).numpy())
                shown.add(len(batch))
        return np.concatenate(found)

    def _read(self) -> dict[str, NDArray[np.float32]]:
        if not self._path.is_file():
            return {}
        try:
            with np.load(self._path, allow_pickle=False) as kept:
                keys, rows = kept["keys"].tolist(), kept["features"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("%s cannot be read (%s): computing it anew", self._path, error)
            return {}
        fits = rows.ndim == 2 and rows.shape == (len(keys), self._backbone.output_shape[-1])
        return dict(zip(keys, rows)) if fits and np.isfinite(rows).all() else {}

    def _write(self, known: dict[str, NDArray[np.float32]]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        np.savez(content, keys=np.array(list(known)), features=np.stack(list(known.values())))
        files.write(self._path, content.getvalue())


def _mirrored(image: tf.Tensor, variant: str) -> tf.Tensor:
    if "h" in variant:
        image = tf.image.flip_left_right(image)
    return tf.image.flip_up_down(image) if "v" in variant else image
