"""The flags of a training: one for each setting of training/config.py."""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from collections.abc import Sequence
from typing import Any

from foundation import command_line
from foundation.command_line import InputError
from training.backbones import BACKBONES
from training.config import CHOICES, SIZE, RunConfig

GROUPS = {
    "images": (
        *("data", "positive", "max_images", "max_broken_share", "max_megapixels"),
        *("train_share", "validation_share", "folds", "fold"),
    ),
    "model": ("architecture", "image_height", "image_width", "precision"),
    "transfer: a network that was trained elsewhere, in the architecture's place": (
        *("backbone", "backbone_weights", "backbone_cut", "head"),
        *("fine_tune_epochs", "fine_tune_learning_rate"),
    ),
    "training": (
        *("epochs", "steps_per_epoch", "validation_steps", "batch_size", "learning_rate"),
        *("patience", "watch", "seed"),
    ),
    "recipe: for small networks that train from scratch, see training/README.md": (
        *("optimizer", "weight_decay", "schedule", "warmup_epochs", "weight_averaging"),
        *("label_smoothing", "soft_labels", "balance_classes", "mixup", "teacher", "teacher_share"),
    ),
    "augmentation of training images": (
        *("flip_horizontal", "flip_vertical", "quarter_turns", "brightness", "contrast"),
    ),
    "places and memory, which change no result": ("runs", "cache_memory_mb"),
}
"""Under which title --help shows the flag of each setting."""

_METAVARS = {
    "data": "PATH",
    "positive": "CLASS",
    "runs": "FOLDER",
    "backbone_weights": "FILE",
    "teacher": "RUN",
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds a flag a setting, in kebab case, with its help and its default, under GROUPS."""
    hints = typing.get_type_hints(RunConfig)
    fields = {field.name: field for field in dataclasses.fields(RunConfig)}
    for title, names in GROUPS.items():
        group = parser.add_argument_group(title)
        for name in names:
            _add_flag(group, fields[name], hints[name])


def check(
    program: str, flags: Sequence[str], set_there: Sequence[str], *, taught: bool = False
) -> None:
    """What training would take flags for; ends the process with one line where it would not.

    For commands that train several times: a slip in the last one's flags is told before the first.

    Args:
        program: that was called, for the line.
        flags: of training.train.
        set_there: flags that the command sets itself.
        taught: it names a teacher, too.

    Raises:
        InputError: a value is out of range, or a flag is one of `set_there`.
    """
    own = [flag for flag in flags if flag.split("=")[0] in set_there]
    if own:
        raise InputError(
            f"Expected flags of training.train but {', '.join(set_there)}. Received: {own[0]}."
        )
    parser = command_line.Parser(prog=program)
    add_flags(parser)
    args = parser.parse_args(list(flags))
    if taught:
        args.teacher = "a run that is not made yet"
    config_from_args(args)


def _add_flag(group: Any, field: dataclasses.Field[Any], kind: Any) -> None:
    default = "" if field.default is None else f" (default: {field.default})"
    named: dict[str, Any] = {
        # a backbone brings a size of its own: None tells that none was given
        "default": None if field.name in ("image_height", "image_width") else field.default,
        "help": (field.metadata["help"] + default).replace("%", "%%"),
    }
    if _plain(kind) is bool:
        named["action"] = argparse.BooleanOptionalAction
    elif field.name in CHOICES:
        named["choices"] = CHOICES[field.name]
    else:
        named["type"] = _plain(kind)
        named["metavar"] = _METAVARS.get(field.name, "N" if named["type"] is int else "X")
    group.add_argument("--" + field.name.replace("_", "-"), **named)


def config_from_args(args: argparse.Namespace) -> RunConfig:
    """Picks the settings out of parsed flags; a backbone brings its size and its file along."""
    given = {field.name: getattr(args, field.name) for field in dataclasses.fields(RunConfig)}
    known = BACKBONES.get(given["backbone"])
    for name in ("image_height", "image_width"):
        if given[name] is None:
            given[name] = known.size if known else SIZE
    if known and given["backbone_weights"] is None:
        given["backbone_weights"] = known.installed()
    return RunConfig(**given)


def _plain(kind: Any) -> Any:
    """`int | None` -> `int`."""
    if isinstance(kind, types.UnionType):
        return next(part for part in kind.__args__ if part is not type(None))
    return kind
