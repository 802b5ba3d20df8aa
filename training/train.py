"""Trains a classifier and leaves a run.

    python -m training.train                        the sample set, about two minutes on two cores
    python -m training.train --data my_images/      images of your own
    python -m training.train --resume               goes on with what was interrupted

A run that stands already, with the same settings and the same images, is not made again.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import errno
import logging
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundation import command_line, quiet_tensorflow
from foundation.command_line import InputError
from foundation.pages import page
from training import backbones, publication, run
from training.config import RunConfig
from training.config_flags import add_flags, config_from_args
from training.data import class_names, dataset, targets

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf
    from numpy.typing import NDArray

    from training.data.prepared import PreparedData
    from training.learning import loop

logger = logging.getLogger("training.train")


def main(argv: list[str] | None = None) -> int:
    """The command; prints the run's folder on stdout."""
    parser = command_line.Parser(
        prog="python -m training.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the interrupted run of these settings"
    )
    add_flags(parser)
    typed = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(typed)
    command_line.configure_logging()
    command = shlex.join(["python", "-m", "training.train", *typed])
    return command_line.run(
        parser.prog, lambda: _command(config_from_args(args), args.resume, command)
    )


def _command(config: RunConfig, resume: bool, command: str) -> int:
    found = dataset.find(config.data, config.positive, config.max_images)
    fingerprint = dataset.fingerprint(found)
    weights = backbones.digest(config.backbone_weights) if config.backbone_weights else None
    teacher = run.named(config.teacher, Path(config.runs)) if config.teacher else None
    if teacher:
        targets.check_teacher(teacher.id, teacher.class_names, found.class_names)
    _announce(config, found)
    if config.backbone and weights:
        _announce_backbone(backbones.described(config.backbone, config.backbone_cut, weights))
    beside = {
        "weights": weights,
        "teacher": teacher and teacher.id,
        "soft labels": targets.digest(found) if config.soft_labels else None,
    }
    name = config.identity(
        fingerprint, *(f"{what} {which}" for what, which in beside.items() if which)
    )
    final = Path(config.runs) / f"{config.name}-{name}"
    publication.check_place(final)
    if (final / run.SETTINGS).is_file():
        publication.tidy(final)
        publication.point_latest(final)
        logger.info("this run stands already: nothing to train; change a setting for another run")
    else:
        if resume and not publication.partial_folder(final).is_dir():
            raise InputError(
                "Expected an interrupted run of these settings and images in "
                f"{publication.partial_folder(final)}. Received: none. Leave --resume out to start "
                "one."
            )
        train(config, found, fingerprint, weights, teacher, final, resume, command)
    print(final)
    return 0


def _announce(config: RunConfig, found: dataset.Dataset) -> None:
    licence = f"; licence {found.licence}" if found.licence else ""
    logger.info("%d images: %s%s", len(found.items), found.source, licence)
    if found.other_files:
        listed = ", ".join(f"{count} {suffix}" for suffix, count in found.other_files.items())
        logger.info("files that are no pictures: %s", listed)
    if len(found.class_names) > 2:
        few = ", ".join(found.class_names[:10]) + (", …" if len(found.class_names) > 10 else "")
        logger.info("%d classes: %s", len(found.class_names), few)
        return
    negative, positive = found.class_names
    guessed = found.positive_by == class_names.BY_ALPHABET
    logger.log(
        logging.WARNING if guessed else logging.INFO,
        "classes: positive=%s (%s), negative=%s%s",
        *(positive, found.positive_by, negative),
        "; name the one that is looked for with --positive" if guessed else "",
    )


def _announce_backbone(told: dict[str, Any]) -> None:
    if told["origin"]:
        logger.info("backbone: %s; licence %s", told["origin"], told["licence"])
    else:
        logger.warning(
            "backbone: %s; origin and licence of these weights are not known here, and what is "
            "trained on them may be bound by theirs (SHA-256 %s)",
            *(told["name"], told["sha256"]),
        )


def train(
    config: RunConfig,
    found: dataset.Dataset,
    fingerprint: str,
    weights: str | None,
    teacher: run.Run | None,
    final: Path,
    resume: bool,
    command: str,
) -> None:
    """Trains and publishes the run as `final`.

    Args:
        config: of the run.
        found: its images.
        fingerprint: of the images.
        weights: SHA-256 of the backbone's file; None without a backbone.
        teacher: whose answers are learned from; None without one.
        final: the run's folder.
        resume: go on with what was interrupted.
        command: as it was typed.

    Raises:
        InputError: the images or the settings cannot be used.
    """
    started = datetime.datetime.now(datetime.timezone.utc)
    # TensorFlow takes seconds to import, so what can be refused without it was refused above.
    quiet_tensorflow.import_tensorflow()
    from training.data import inspection, prepared
    from training.learning import devices
    from training.results import writer

    timings: dict[str, float] = {}
    strategy = devices.prepare(config.seed)
    chief = devices.is_chief(strategy)
    with contextlib.ExitStack() as stack:
        stack.enter_context(command_line.held_interrupts())
        partial = publication.partial_folder(final)
        if chief:
            stack.enter_context(publication.sole_writer(final))
        stack.enter_context(_room(partial))
        if chief:
            _make_ready(partial, resume)
        # A machine that is not the chief must save in step with it, but nobody reads what it saves.
        own = partial if chief else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = _fresh_model(config, len(found.class_names), strategy)
        with _timed(timings, "inspection_s"):
            seen = inspection.inspect(
                found, max_pixels=config.max_pixels, max_broken_share=config.max_broken_share
            )
        data = prepared.prepare(found, seen, config)
        with _timed(timings, "training_s"):
            interrupted = partial if resume else None
            progress = _fit(model, strategy, data, config, own, interrupted, weights, teacher)
        if chief:
            trained = writer.TrainedRun(
                id=final.name,
                config=config,
                data=data,
                fingerprint=fingerprint,
                weights=weights,
                progress=progress,
                timings=timings,
                device=strategy.__class__.__name__,
                command=command,
                started=started.isoformat(timespec="seconds"),
            )
            writer.write(partial, model, trained)
            _publish(partial, final, data)


def _make_ready(partial: Path, resume: bool) -> None:
    """The folder of the run under way; what is lost with it is told."""
    if partial.is_dir() and not resume:
        logger.info("starting over; --resume would go on with the interrupted run in %s", partial)
    publication.clear(partial, resume)


def _fresh_model(config: RunConfig, classes: int, strategy: tf.distribute.Strategy) -> keras.Model:
    """Untrained, but for the weights of a backbone."""
    from training import architectures
    from training.transfer import backbone

    with strategy.scope():
        model = architectures.build_model(config, classes)
        # before the images are looked at: it may be another network's file
        if config.backbone_weights:
            backbone.load_weights(model.get_layer(backbone.NAME), config)
    return model


def _fit(
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    data: PreparedData,
    config: RunConfig,
    own: Path,
    interrupted: Path | None,
    weights: str | None,
    teacher: run.Run | None,
) -> loop.Progress:
    """Trains a model, whole or on the features of its backbone, and leaves the best weights in it.

    Arguments as of train() and fit.fit(); `own` is this process's folder.
    """
    from training import teaching
    from training.learning import loop, recipe
    from training.transfer import fit

    taught = teaching.answers(teacher, data) if teacher else None
    if weights:
        return fit.fit(model, strategy, data, config, own, interrupted, weights, taught)
    images = data.for_loop(own / run.CACHE, taught)
    with strategy.scope():
        optimizer = recipe.optimizer_for(config, images.steps)
    return loop.train(model, optimizer, strategy, images, config, own, interrupted)


def _publish(partial: Path, final: Path, data: PreparedData) -> None:
    publication.publish(partial, final)
    publication.point_latest(final)
    page.list_page(final / run.REPORT)
    logger.info("report: %s", final / run.REPORT)
    logger.info(_next_steps(len(data.dataset.class_names), data.targets("validation")))


def _next_steps(classes: int, validation: NDArray[np.int_]) -> str:
    """What one does with a run, for people; a target that so many validation images can show."""
    from training.decision import bounds, choice

    share, count = (0.95, int(validation.sum())) if classes == 2 else (0.98, len(validation))
    enough = count >= bounds.fewest_trials(share, choice.DEFAULT_CONFIDENCE)
    if classes == 2:
        target = f"recall>={share}" if enough else "balanced"
    else:
        target = f"accuracy>={share}" if enough else "likeliest"
    return (
        f'next: make decide TARGET="{target}" (other answers, nothing is trained), make export, '
        "make runs (all runs beside each other)"
    )


@contextlib.contextmanager
def _room(partial: Path) -> Iterator[None]:
    """Says how to go on where the disk is full."""
    try:
        yield
    except Exception as error:
        if not command_line.is_disk_full(error):
            raise
        raise InputError(
            f"Expected room for {partial}. Received: {os.strerror(errno.ENOSPC)}. Make room there "
            "and go on with --resume: every whole epoch is kept."
        ) from error


@contextlib.contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    timings[name] = time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main())
