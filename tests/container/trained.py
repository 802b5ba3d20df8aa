"""A model store with what the training image trained and exported, as Kubernetes' Job calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import PIL.Image
import pytest
import yaml

from tests.conftest import made_once
from tests.container.asking import HARD, Engine, open_to_all
from tests.container.stand_in import ROOT, TRAINING

FEW: Final = ("--epochs=1", "--image-height=24", "--image-width=24")


def job() -> list[dict[str, Any]]:
    """The Job's containers, in their order."""
    path = ROOT / "k8s" / "components" / "training" / "job.yaml"
    pod = yaml.safe_load(path.read_text("utf-8"))["spec"]["template"]["spec"]
    return [*pod["initContainers"], *pod["containers"]]


def store(ask: Engine, factory: pytest.TempPathFactory) -> Path:
    """The store; made once, half a minute, on 40 pictures."""

    def make(place: Path) -> None:
        place.mkdir()
        open_to_all(place)
        for name in ("data", "runs", "models"):
            (place / name).mkdir()
            (place / name).chmod(0o777)
        random = np.random.default_rng(3)
        for label, low, high in (("good", 0, 120), ("bad", 130, 256)):
            (place / "data" / label).mkdir()
            for at in range(20):
                pixels = random.integers(low, high, (24, 24, 3), np.uint8)
                PIL.Image.fromarray(pixels).save(place / "data" / label / f"{at}.png")
        volumes = [f"--volume={place / name}:/{name}" for name in ("runs", "models")]
        volumes.append(f"--volume={place / 'data'}:/data:ro")
        for one in job():
            more = FEW if one["name"] == "train" else ()
            command = [*one["command"], *one["args"], *more]
            ask("run", "--rm", *HARD, *volumes, TRAINING, *command)

    return made_once(factory, "trained-in-its-image", make) / "models"
