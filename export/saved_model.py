"""Exports a run as the next version of the model.

    python -m export.saved_model                    the run that runs/latest names, about 20 s
    python -m export.saved_model --run cnn-…        another one
    python -m export.saved_model --if-new           unless the newest version holds this run already

The version is written aside, verified in a fresh process, and renamed into place: a server sees it
whole or not at all.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export import versions
from foundation import command_line, figures, quiet_tensorflow
from foundation.command_line import InputError
from foundation.digests import file_digest
from foundation.progress import Progress
from tfs_client import contract
from training import run
from training.decision import chance, decision as decisions

logger = logging.getLogger("export.saved_model")


def main(argv: list[str] | None = None) -> int:
    """The command; prints the version's folder on stdout."""
    parser = command_line.Parser(
        prog="python -m export.saved_model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--run",
        default="runs/latest",
        help="folder of a run, or its name in runs/ (default: %(default)s)",
    )
    parser.add_argument("--models", default="models", help="model store (default: %(default)s)")
    parser.add_argument(
        "--if-new", action="store_true", help="do nothing if the newest version holds this run"
    )
    args = parser.parse_args(argv)
    command_line.configure_logging()
    return command_line.run(parser.prog, lambda: _command(args.run, Path(args.models), args.if_new))


def _command(run_name: str, store: Path, if_new: bool) -> int:
    made = run.named(run_name)
    model_folder = store / contract.MODEL_NAME
    print(export(made, model_folder, if_new=if_new))
    return 0


def export(made: run.Run, model_folder: Path, *, if_new: bool = False) -> Path:
    """Writes, verifies and publishes the next version.

    Args:
        made: a whole run.
        model_folder: models/<name>/.
        if_new: publish nothing where the newest version holds this run and its decision.

    Returns:
        the version's folder; with `if_new`, that of the one that stands.

    Raises:
        InputError: the run's images or weights are gone, or the version does not pass.
    """
    try:
        if if_new:
            _refuse_standing(made, model_folder)  # at once: TensorFlow takes seconds to import
        return _export(made, model_folder, if_new)
    except _StandsAlreadyError as stands:
        logger.info("version %s holds %s already: nothing to export", stands.folder.name, made.id)
        return stands.folder


class _StandsAlreadyError(Exception):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder


def _refuse_standing(made: run.Run, model_folder: Path) -> None:
    """Raises _StandsAlreadyError if the newest version holds this run."""
    standing = versions.versions(model_folder)
    if standing:
        newest = model_folder / str(standing[-1])
        card = versions.model_card(newest)
        if card is not None and card.get("run") == made.id and _decides_alike(card, made):
            raise _StandsAlreadyError(newest)


def _decides_alike(card: Mapping[str, Any], made: run.Run) -> bool:
    """Whether a version answers as the run has decided last."""
    if "decision" in card:
        return bool(card["decision"] == dataclasses.asdict(made.decision))
    # exported before there were decisions
    return not (made.path / decisions.FILE).exists()


def _export(made: run.Run, model_folder: Path, if_new: bool) -> Path:
    quiet_tensorflow.import_tensorflow()
    import tensorflow as tf

    from export import signatures, warmup
    from training import architectures

    pictures = samples(made)
    model = architectures.trained_model(made)
    servable = signatures.Servable(model, made.config, made.class_names, made.decision)
    with versions.new_version(model_folder) as (version, aside):
        if if_new:
            _refuse_standing(made, model_folder)  # again: another export may just have ended
        logger.info("exporting %s as version %d", made.id, version)
        tf.saved_model.save(servable, str(aside), signatures=servable.signatures())
        _name_classify_method(aside)
        requests = warmup.write(aside, pictures, made.config)
        logger.info("%d warm-up requests written; verifying in a fresh process", requests)
        checks = _verify(aside, made)
        figures.write_json(aside / contract.MODEL_CARD, _model_card(made, version, aside, checks))
    published = model_folder / str(version)
    logger.info("version %d is published: %s", version, published)
    for doubt in _doubts(made):
        logger.warning("version %d is not shown to be better than guessing: %s", version, doubt)
    return published


def _doubts(made: run.Run) -> list[str]:
    return chance.doubts(made.metrics()["test"])


def samples(made: run.Run) -> list[bytes]:
    """The files of the run's sample pictures; what else lies among them is left out by name.

    Raises:
        InputError: there is none.
    """
    import tensorflow as tf

    from training.data import preprocessing

    def picture(path: Path) -> bytes | None:
        try:
            content = path.read_bytes() if path.is_file() else b""  # reading a pipe would not end
            preprocessing.decode(tf.constant(content), made.config.max_pixels)
        except (OSError, tf.errors.OpError):
            logger.warning("left out of the warm-up: %s is no picture that the run reads", path)
            return None
        return content

    folder = made.path / run.SAMPLES
    found = [picture(path) for path in sorted(folder.iterdir())] if folder.is_dir() else []
    pictures = [content for content in found if content is not None]
    if not pictures:
        raise InputError(
            f"Expected a sample picture in {folder}, for the warm-up. Received: none. Copy a test "
            "image there, or train again."
        )
    return pictures


def _name_classify_method(version_folder: Path) -> None:
    """Saving names every method predict; Classify asks for its own."""
    import tensorflow as tf

    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(version_folder))
    updater.replace_method_name(
        signature_key=contract.SIGNATURE_CLASSIFY,
        method_name=contract.METHOD_CLASSIFY,
        tags="serve",
    )
    updater.save()


def _classes(names: tuple[str, ...]) -> dict[str, Any]:
    """How a card names the classes."""
    if len(names) > 2:
        return {"class_names": names}
    return {"class_names": names, "classes": {"negative": names[0], "positive": names[1]}}


def _verify(version_folder: Path, made: run.Run) -> dict[str, Any]:
    """Runs export.verify in a process of its own: what a server would see, and may not survive."""
    command = [sys.executable, "-m", "export.verify", str(version_folder), "--steps"]
    last: dict[str, Any] = {}
    with (
        tempfile.TemporaryFile("w+", errors="replace") as talk,  # it may hold anything
        Progress("verification", unit="images") as shown,
        subprocess.Popen(
            [*command, "--run", str(made.path)], stdout=subprocess.PIPE, stderr=talk, text=True
        ) as process,
    ):
        shown.move(0, total=None, words="importing TensorFlow")
        assert process.stdout is not None
        try:
            for line in process.stdout:
                with contextlib.suppress(json.JSONDecodeError):  # it ended in the middle of a line
                    last = json.loads(line)
                if "words" in last:
                    shown.move(last["done"], total=last["total"], words=last["words"])
            code = process.wait()
        finally:
            process.kill()
        talk.seek(0)
        last_line = (talk.read().strip().splitlines() or ["no message"])[-1]
    if code == 0:
        return last
    ended = f"exit code {code}" if code > 0 else "ended by a signal"
    raise InputError(
        f"Expected the exported version to pass its checks. Received: {last_line} ({ended}). "
        "Nothing was published."
    )


def _model_card(
    made: run.Run, version: int, version_folder: Path, checks: dict[str, Any]
) -> dict[str, Any]:
    config = made.config
    files = sorted(path for path in version_folder.rglob("*") if path.is_file())
    return {
        "model": contract.MODEL_NAME,
        "version": version,
        "run": made.id,
        "commit": made.settings["commit"],
        "architecture": config.name,
        "backbone": made.settings["model"].get("backbone"),
        "weights": made.settings["model"]["weights"],
        "input": {"height": config.image_height, "width": config.image_width},
        **_classes(made.class_names),
        "decision": dataclasses.asdict(made.decision),
        "data": {
            key: made.settings["data"][key]
            for key in ("source", "licence", "fingerprint", "images")
        },
        "metrics": made.metrics(),
        "not_shown_better_than_guessing": _doubts(made),
        "versions": made.settings["versions"],
        "checks": checks,
        "files": {
            path.relative_to(version_folder).as_posix(): {
                "bytes": path.stat().st_size,
                "sha256": file_digest(path),
            }
            for path in files
        },
    }


if __name__ == "__main__":
    sys.exit(main())
