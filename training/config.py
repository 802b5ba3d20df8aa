"""The settings of a training run: one frozen dataclass, from which the flags are made.

What comes after training reads a run's settings from its run.json and assumes none of them. This
module does not import TensorFlow, so that `--help` and wrong flags answer at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import types
import typing
from typing import Any

from foundation.command_line import InputError, is_unicode
from foundation.text import did_you_mean

CHOICES = {
    "architecture": ("cnn", "cnn_batch_norm"),
    "precision": ("float32", "mixed_float16", "mixed_bfloat16"),
}
"""Settings that are one of these; training/architectures.py has a function for each."""

GROUPS = {
    "images": (
        *("data", "positive", "max_images", "max_broken_share", "max_megapixels"),
        *("train_share", "validation_share", "folds", "fold"),
    ),
    "model": ("architecture", "image_height", "image_width", "precision"),
    "training": (
        *("epochs", "steps_per_epoch", "validation_steps", "batch_size", "learning_rate"),
        *("patience", "seed"),
    ),
    "augmentation of training images": (
        *("flip_horizontal", "flip_vertical", "quarter_turns", "brightness", "contrast"),
    ),
    "places and memory, which change no result": ("runs", "cache_memory_mb"),
}
"""Under which title --help shows the flag of each setting."""

_METAVARS = {"data": "PATH", "positive": "CLASS", "runs": "FOLDER"}

MOST = 2**31 - 1
"""Of anything that is counted: TensorFlow's int32."""

LARGEST_FLOAT32 = 3.4e38

MOST_MEGAPIXELS = 1e6
"""A million million pixels: more than any decoder takes, and well within an int64."""

DECIDED_OTHERWISE = ("threshold", "review_margin")
"""Settings of runs from before training/decide.py; run.Run.decision reads them."""

ADDED_LATER = ("folds", "fold")
"""Settings that runs did not always have; None means what it was before."""

WHERE_NOT_WHAT = ("data", "runs", "cache_memory_mb")
"""Settings that say where or how, and cannot change a run's result: not part of its identity."""


def _setting(default: Any, help: str) -> Any:
    """A field whose flag has this help."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training run, whole: same settings, same data, same machine, same weights."""

    data: str | None = _setting(
        None,
        "a folder with one sub-folder a class, also within train, validation and test, or a "
        "CSV/TSV manifest (path,label[,split][,group]); without it the sample set of solar cells",
    )
    positive: str | None = _setting(
        None,
        "name of the positive class, whose probability is answered; without it the class whose "
        "name says so (defective, nok, Riss; not no_crack), else the last by name, with a warning",
    )
    runs: str = _setting("runs", "folder that receives the run")
    image_height: int = _setting(
        64,
        "height of the model's input in pixels; files of any size are resized",
    )
    image_width: int = _setting(64, "width of the model's input in pixels")
    architecture: str = _setting(
        "cnn",
        "cnn: two convolutions and a dense layer; cnn_batch_norm: four convolutions, and as many "
        "weights for any image size",
    )
    epochs: int = _setting(
        25,
        "upper bound; training stops early when validation no longer improves",
    )
    steps_per_epoch: int | None = _setting(
        None,
        "upper bound of batches an epoch; without it one pass over the training images",
    )
    validation_steps: int | None = _setting(
        None,
        "upper bound of validation batches after an epoch; without it all of them",
    )
    batch_size: int = _setting(32, "images a step, over all devices and machines together")
    learning_rate: float = _setting(1e-3, "of Adam")
    patience: int = _setting(5, "epochs without a better validation loss before training stops")
    seed: int = _setting(1, "of the split, the weights, the order and the augmentation")
    precision: str = _setting(
        "float32",
        "mixed_float16 is for GPUs, mixed_bfloat16 for newer GPUs and CPUs; the last layer and the "
        "answers are float32 in any case",
    )
    flip_horizontal: bool = _setting(
        False,
        "mirror training images left-right at random; within 25 epochs of the default "
        "architecture all augmentation made the sample set's validation loss worse (two seeds: "
        "0.439 and 0.447 without, 0.457 and 0.454 with both flips)",
    )
    flip_vertical: bool = _setting(False, "mirror training images top-bottom at random")
    quarter_turns: bool = _setting(
        False,
        "turn training images by a random multiple of 90 degrees; hurts on the sample set, whose "
        "busbars always lie across; needs square images",
    )
    brightness: float = _setting(
        0.0,
        "largest random shift of all pixels, as a share of full white (0-1); brightness carries "
        "information on the sample set",
    )
    contrast: float = _setting(
        0.0,
        "largest random change of contrast around the mean, as a share (0-1)",
    )
    train_share: float = _setting(0.60, "share of the images for training (0-1)")
    validation_share: float = _setting(
        0.15,
        "share of the images for validation (0-1); the rest is the test set, looked at once",
    )
    folds: int | None = _setting(
        None,
        "divide the images into so many parts, one of which is the test set: see --fold; `make "
        "evaluate` trains them all",
    )
    fold: int | None = _setting(
        None, "which of the parts is the test set (1 to --folds); the shares are those of the rest"
    )
    max_images: int | None = _setting(
        None,
        "take only so many images, in the classes' proportions: for a quick try of the whole road",
    )
    max_broken_share: float = _setting(
        0.05,
        "stop if more than this share of the files (0-1) is unusable; fewer are set aside by name",
    )
    max_megapixels: float = _setting(
        50.0,
        "refuse larger pictures before decoding them, in training and in the served graph",
    )
    cache_memory_mb: int = _setting(
        1024,
        "decoded images are kept in memory up to this size, beyond it in a file",
    )

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            InputError: a value is out of range; says which, and what is allowed.
        """
        for name in ("data", "positive", "runs", "architecture", "precision"):
            value = getattr(self, name)
            _expect(value is None or is_unicode(value), name, "text in UTF-8", ascii(value))
        for name in ("image_height", "image_width", "epochs", "batch_size", "patience"):
            value = getattr(self, name)
            _expect(1 <= value <= MOST, name, f"1 or more, up to {MOST}", value)
        for name in ("steps_per_epoch", "validation_steps", "max_images"):
            value = getattr(self, name)
            _expect(value is None or 1 <= value <= MOST, name, f"1 or more, up to {MOST}", value)
        # a comparison with a NaN is false: it is refused with the rest
        for name in ("brightness", "contrast", "max_broken_share"):
            _expect(0 <= getattr(self, name) <= 1, name, "0 to 1", getattr(self, name))
        _expect(
            0 < self.learning_rate <= LARGEST_FLOAT32,
            "learning_rate",
            f"above 0, up to {LARGEST_FLOAT32:g}",
            self.learning_rate,
        )
        _expect(
            1e-6 <= self.max_megapixels <= MOST_MEGAPIXELS,
            "max_megapixels",
            f"1e-06 (one pixel) to {MOST_MEGAPIXELS:g}",
            self.max_megapixels,
        )
        _expect(self.cache_memory_mb >= 0, "cache_memory_mb", "0 or more", self.cache_memory_mb)
        _expect(0 <= self.seed <= MOST, "seed", f"0 to {MOST}", self.seed)
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            meant = did_you_mean(value, choices)
            _expect(value in choices, name, f"one of {', '.join(choices)}", value, meant)
        shares = (self.train_share, self.validation_share)
        _expect(
            min(shares) > 0 and sum(shares) < 1,
            "train_share, validation_share",
            "both above 0 and a rest for the test set",
            shares,
        )
        _expect(
            (self.folds is None) == (self.fold is None),
            "folds, fold",
            "given both or neither",
            (self.folds, self.fold),
        )
        _expect(self.folds is None or 2 <= self.folds <= MOST, "folds", "2 or more", self.folds)
        _expect(
            self.fold is None or 1 <= self.fold <= (self.folds or 0),
            "fold",
            f"1 to {self.folds}",
            self.fold,
        )
        _expect(
            not self.quarter_turns or self.image_height == self.image_width,
            "quarter_turns",
            "square images",
            f"{self.image_height}x{self.image_width}",
        )

    @property
    def max_pixels(self) -> int:
        """The largest picture that is decoded, in pixels (height times width)."""
        return int(self.max_megapixels * 1e6)

    def identity(self, data_fingerprint: str) -> str:
        """Twelve hexadecimal digits that name this run: settings and data, nothing else."""
        settings = dataclasses.asdict(self)
        for name in WHERE_NOT_WHAT:
            del settings[name]
        for name in ADDED_LATER:
            if settings[name] is None:  # a run from before it was there is the same run
                del settings[name]
        text = json.dumps([settings, data_fingerprint], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _expect(holds: bool, name: str, expected: str, received: Any, meant: str = "") -> None:
    if not holds:
        flag = ", ".join(f"--{part.strip().replace('_', '-')}" for part in name.split(","))
        raise InputError(f"Expected {flag} to be {expected}. Received: {received}.{meant}")


def config_from_dict(settings: dict[str, Any]) -> RunConfig:
    """Reads the settings of a run.json; ones that this version does not know are refused."""
    known = {field.name for field in dataclasses.fields(RunConfig)}
    settings = {name: value for name, value in settings.items() if name not in DECIDED_OTHERWISE}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise InputError(
            f"Expected the settings of training/config.py. Received: {', '.join(unknown)}, which "
            "it does not know. Train again with this version."
        )
    return RunConfig(**settings)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds a flag a setting, in kebab case, with its help and its default, under GROUPS."""
    hints = typing.get_type_hints(RunConfig)
    fields = {field.name: field for field in dataclasses.fields(RunConfig)}
    for title, names in GROUPS.items():
        group = parser.add_argument_group(title)
        for name in names:
            _add_flag(group, fields[name], hints[name])


def _add_flag(group: Any, field: dataclasses.Field[Any], kind: Any) -> None:
    default = "" if field.default is None else f" (default: {field.default})"
    named: dict[str, Any] = {
        "default": field.default,
        "help": (field.metadata["help"] + default).replace("%", "%%"),
    }
    if kind is bool:
        named["action"] = argparse.BooleanOptionalAction
    elif field.name in CHOICES:
        named["choices"] = CHOICES[field.name]
    else:
        named["type"] = _plain(kind)
        named["metavar"] = _METAVARS.get(field.name, "N" if named["type"] is int else "X")
    group.add_argument("--" + field.name.replace("_", "-"), **named)


def config_from_args(args: argparse.Namespace) -> RunConfig:
    """Picks the settings out of parsed flags."""
    return RunConfig(
        **{field.name: getattr(args, field.name) for field in dataclasses.fields(RunConfig)}
    )


def _plain(kind: Any) -> Any:
    """`int | None` -> `int`."""
    if isinstance(kind, types.UnionType):
        return next(part for part in kind.__args__ if part is not type(None))
    return kind
