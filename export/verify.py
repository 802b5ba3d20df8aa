"""Checks an exported version as TensorFlow Serving will run it: in a graph Session.

    python -m export.verify models/image_classifier/1 --run runs/latest

Prints the checks as JSON; exit code 2 and one line if one fails. To be run in a process of its own:
a version without its guards ends the process instead of raising.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export import hostile, warmup
from foundation import command_line, files, quiet_tensorflow
from foundation.command_line import InputError
from foundation.progress import Progress
from tfs_client import contract
from training import run

quiet_tensorflow.import_tensorflow(keras=False)

import tensorflow as tf  # noqa: E402 - after it was imported quietly
from tensorflow.core.protobuf import config_pb2  # noqa: E402

logger = logging.getLogger("export.verify")

MAX_DIFFERENCE = 1e-5
"""Largest difference of a probability from the run's own on the same file."""

IMAGES_COMPARED = 512
"""Evenly spaced over the run's held-out images."""

BATCH_SIZE = 32

WEIGHTS_SLACK_BYTES = 65536
"""Constants that are no weights: shapes, names, the palette of grey BMP files."""


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = command_line.Parser(
        prog="python -m export.verify",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("version", help="folder of the version")
    parser.add_argument("--run", default="runs/latest", help="(default: %(default)s)")
    parser.add_argument(
        "--steps", action="store_true", help="print a line of JSON for each step, for programs"
    )
    args = parser.parse_args(argv)
    command_line.configure_logging()

    def body() -> int:
        with Progress("verification", unit="images") as shown:

            def told(done: int, total: int | None, words: str) -> None:
                if args.steps:
                    print(json.dumps({"done": done, "total": total, "words": words}), flush=True)
                else:
                    shown.move(done, total=total, words=words)

            found = verify(Path(args.version), run.load(Path(args.run)), told)
        print(json.dumps(found))
        return 0

    return command_line.run(parser.prog, body)


class Loaded:
    """A SavedModel in a Session, asked without any of Python's checks, as a server asks it."""

    def __init__(self, folder: Path):
        self.graph = tf.Graph()
        with self.graph.as_default(), files.no_pattern(folder) as plain:
            self.session = tf.compat.v1.Session(graph=self.graph)
            # the loader TensorFlow Serving's own corresponds to; deprecated in Python only
            self.meta_graph = tf.compat.v1.saved_model.load(self.session, ["serve"], str(plain))
        self.signatures = dict(self.meta_graph.signature_def)
        self._callables: dict[str, Callable[..., list[np.ndarray]]] = {}

    def ask(self, signature: str, value: Any) -> dict[str, np.ndarray]:
        """Runs a signature on the one input it has.

        Raises:
            tf.errors.OpError: the graph refuses the value.
        """
        definition = self.signatures[signature]
        (info,) = definition.inputs.values()
        if signature not in self._callables:
            # Session.run and make_callable compare shapes in Python before the graph is asked; a
            # server does not, and neither do callables made from options.
            options = config_pb2.CallableOptions()
            options.feed.append(info.name)
            options.fetch.extend(output.name for output in definition.outputs.values())
            self._callables[signature] = self.session._make_callable_from_options(options)
        array = np.asarray(value, tf.as_dtype(info.dtype).as_numpy_dtype)
        return dict(zip(definition.outputs, self._callables[signature](array)))


Told = Callable[[int, int | None, str], None]
"""Takes how many images of a step are done, of how many (None: it has no images), and its name."""


def verify(folder: Path, made: run.Run, told: Told = lambda *_: None) -> dict[str, Any]:
    """Runs every check.

    Args:
        folder: of the version.
        made: the run it was made of.
        told: called as each step begins, and now and then within it.

    Returns:
        the figures, JSON-ready.

    Raises:
        InputError: a check fails; says which.
    """
    told(0, None, "loading the version")
    loaded = Loaded(folder)
    _check_signatures(loaded, made)
    checks: dict[str, tuple[str, Callable[[Told], Any]]] = {
        "weight_bytes": ("each weight once", lambda _: _check_weights_once(loaded, made)),
        "max_difference": (
            "the run's own probabilities",
            lambda within: _check_same_numbers(loaded, made, within),
        ),
        "wrong_shapes_refused": (
            "wrong shapes",
            lambda _: _check_wrong_shapes_refused(loaded, made),
        ),
        "most_rows": ("too many rows", lambda _: _check_most_rows(loaded, made)),
        "neighbours_of_broken_images_kept": (
            "broken images between good ones",
            lambda _: _check_neighbours(loaded, made),
        ),
        "warmup_requests_answered": (
            "warm-up requests",
            lambda _: _check_warmup(loaded, folder),
        ),
    }
    found: dict[str, Any] = {"images_compared": len(_held_out(made))}
    for number, (name, (words, check)) in enumerate(checks.items(), 1):
        step = f"{number} of {len(checks)}: {words}"
        told(0, None, step)
        found[name] = check(lambda done, total, _, step=step: told(done, total, step))
    return found


def _check_signatures(loaded: Loaded, made: run.Run) -> None:
    size = [made.config.image_height, made.config.image_width, 3]
    row: list[int] = [-1]
    count = len(made.class_names)
    classes = {
        contract.OUTPUT_CLASSES: (tf.string, [-1, count]),
        contract.OUTPUT_SCORES: (tf.float32, [-1, count]),
    }
    predictions = {
        contract.OUTPUT_PROBABILITY: (tf.float32, row),
        contract.OUTPUT_LABEL: (tf.string, row),
        contract.OUTPUT_NEEDS_REVIEW: (tf.bool, row),
        contract.OUTPUT_VALID: (tf.bool, row),
        **classes,
    }
    predict, classify = contract.METHOD_PREDICT, contract.METHOD_CLASSIFY
    expected = {
        contract.SIGNATURE_DEFAULT: (
            predict,
            {contract.INPUT_IMAGE_BYTES: (tf.string, row)},
            predictions,
        ),
        contract.SIGNATURE_IMAGES: (
            predict,
            {contract.INPUT_IMAGES: (tf.uint8, [-1, *size])},
            predictions,
        ),
        contract.SIGNATURE_CLASSIFY: (
            classify,
            {contract.INPUT_EXAMPLES: (tf.string, row)},
            classes,
        ),
    }
    received = {
        name: (definition.method_name, _tensors(definition.inputs), _tensors(definition.outputs))
        for name, definition in loaded.signatures.items()
        if not name.startswith("__saved_model")
    }
    _expect(received == expected, "the contract's signatures", expected, received)


def _tensors(infos: Any) -> dict[str, tuple[tf.DType, list[int]]]:
    return {
        name: (tf.as_dtype(info.dtype), [dim.size for dim in info.tensor_shape.dim])
        for name, info in infos.items()
    }


def _check_weights_once(loaded: Loaded, made: run.Run) -> int:
    """Counts the bytes of all constants; variables would be optimizer state or second copies."""
    graph = loaded.meta_graph.graph_def
    nodes = list(graph.node) + [node for f in graph.library.function for node in f.node_def]
    variables = sorted({node.op for node in nodes if "VarHandle" in node.op})
    _expect(not variables, "a graph without variables", "none", variables)
    constants = sum(len(n.attr["value"].tensor.tensor_content) for n in nodes if n.op == "Const")
    weights = 4 * made.settings["model"]["weights"]
    _expect(
        constants <= weights + WEIGHTS_SLACK_BYTES,
        "each weight inside once",
        f"at most {weights + WEIGHTS_SLACK_BYTES} bytes of constants",
        constants,
    )
    return constants


def _check_same_numbers(loaded: Loaded, made: run.Run, told: Told) -> float:
    """Files through serving_default and classify, against the run's own evaluation."""
    rows = _held_out(made)
    largest = 0.0
    for start in range(0, len(rows), BATCH_SIZE):
        batch = rows[start : start + BATCH_SIZE]
        told(start, len(rows), "")
        files = [made.file(row.path).read_bytes() for row in batch]
        probability = np.array([row.probability for row in batch], np.float32)
        scores = np.array([row.scores for row in batch], np.float32)
        answers = loaded.ask(contract.SIGNATURE_DEFAULT, files)
        classified = loaded.ask(contract.SIGNATURE_CLASSIFY, [_example(file) for file in files])
        for received, expected in (
            (answers[contract.OUTPUT_PROBABILITY], probability),
            (answers[contract.OUTPUT_SCORES], scores),
            (classified[contract.OUTPUT_SCORES], scores),
        ):
            difference = float(np.max(np.abs(received - expected)))
            _expect(
                difference <= MAX_DIFFERENCE,  # a NaN fails this too
                "the run's own probabilities",
                f"at most {MAX_DIFFERENCE:g} apart",
                difference,
            )
            largest = max(largest, difference)
        for names in (answers[contract.OUTPUT_CLASSES], classified[contract.OUTPUT_CLASSES]):
            expected_names = [[name.encode() for name in made.class_names]] * len(batch)
            _expect(
                names.tolist() == expected_names, "the run's classes", made.class_names, names[:1]
            )
        _check_same_decisions(answers, batch, made)
    return largest


def _check_same_decisions(
    answers: dict[str, np.ndarray], rows: Sequence[run.Prediction], made: run.Run
) -> None:
    """Labels and review, but for images so close to a bound that the last digits decide."""
    scores = np.array([row.scores for row in rows], np.float32)
    sure = made.decision.close_calls(scores) > MAX_DIFFERENCE
    labels = [label.decode() for label in answers[contract.OUTPUT_LABEL].tolist()]
    review = answers[contract.OUTPUT_NEEDS_REVIEW].tolist()
    for row, label, asks, compared in zip(rows, labels, review, sure.tolist()):
        expected = (row.predicted, row.review)
        _expect(
            not compared or (label, asks) == expected,
            f"the run's own answer to {row.path}",
            f"label and review {expected}",
            (label, asks),
        )


def _check_wrong_shapes_refused(loaded: Loaded, made: run.Run) -> int:
    height, width = made.config.image_height, made.config.image_width
    wrong_pixels = [
        (),
        (1,),
        (height, width),
        (height, width, 3),
        (1, 1, height, width, 3),
        (1, height + 1, width, 3),
        (1, height, width - 1, 3),
        (1, height, width, 1),
        (1, height, width, 4),
        (0, height, width, 4),
    ]
    asked = [(contract.SIGNATURE_IMAGES, np.zeros(shape, np.uint8)) for shape in wrong_pixels]
    for signature in (contract.SIGNATURE_DEFAULT, contract.SIGNATURE_CLASSIFY):
        asked += [(signature, np.full(shape, b"", object)) for shape in ((), (1, 1))]
    for signature, value in asked:
        try:
            loaded.ask(signature, value)
        except tf.errors.InvalidArgumentError:
            continue
        _expect(False, f"{signature} to refuse wrong shapes", "an error", f"shape {value.shape}")
    return len(asked)


def _check_most_rows(loaded: Loaded, made: run.Run) -> int:
    """A tensor of a few bytes may declare any number of rows."""
    count = contract.MAX_ROWS + 1
    size = (made.config.image_height, made.config.image_width)
    for signature, value in (
        (contract.SIGNATURE_DEFAULT, np.full(count, b"", object)),
        (contract.SIGNATURE_CLASSIFY, np.full(count, b"", object)),
        (contract.SIGNATURE_IMAGES, np.zeros((count, *size, 3), np.uint8)),
    ):
        try:
            loaded.ask(signature, value)
        except tf.errors.InvalidArgumentError:
            continue
        _expect(False, f"{signature} to refuse many rows", "an error", f"{count} answered")
    return contract.MAX_ROWS


def _check_neighbours(loaded: Loaded, made: run.Run) -> int:
    """Broken files and examples between good ones leave the good ones' answers as they were."""
    good = [made.file(row.path).read_bytes() for row in _held_out(made)[:4]]
    alone = loaded.ask(contract.SIGNATURE_DEFAULT, good)
    broken = [b"", b"no image", good[0][: len(good[0]) // 2], good[0][:4]]
    mixed = [file for pair in zip(good, broken) for file in pair]
    answers = loaded.ask(contract.SIGNATURE_DEFAULT, mixed)
    for name, value in answers.items():
        same = (
            np.allclose(value[::2], alone[name], rtol=0, atol=MAX_DIFFERENCE)
            if value.dtype == np.float32
            else np.array_equal(value[::2], alone[name])
        )
        _expect(same, f"good rows between broken ones to keep their {name}", alone[name], value)
    _expect_invalid(answers, slice(1, None, 2))
    lying = [make() for make in hostile.EXAMPLES.values()]
    strange = [b"\xff no example", _example(good[0], "other"), *lying]
    examples = [_example(file) for file in mixed] + strange
    scores = loaded.ask(contract.SIGNATURE_CLASSIFY, examples)[contract.OUTPUT_SCORES].sum(axis=1)
    finite = [True, False] * len(good) + [False] * len(strange)
    _expect(
        np.isfinite(scores).tolist() == finite,
        "classify to keep good rows",
        finite,
        scores.tolist(),
    )
    for signature in (contract.SIGNATURE_DEFAULT, contract.SIGNATURE_CLASSIFY):
        empty = loaded.ask(signature, np.array([], object))
        sizes = {len(value) for value in empty.values()}
        _expect(sizes == {0}, f"{signature} to answer an empty batch", "no rows", sizes)
    return len(broken)


def _expect_invalid(answers: dict[str, np.ndarray], rows: slice) -> None:
    invalid = (
        np.isnan(answers[contract.OUTPUT_PROBABILITY][rows]).all()
        and np.isnan(answers[contract.OUTPUT_SCORES][rows]).all()
        and (answers[contract.OUTPUT_LABEL][rows] == b"").all()
        and answers[contract.OUTPUT_NEEDS_REVIEW][rows].all()
        and not answers[contract.OUTPUT_VALID][rows].any()
    )
    _expect(invalid, "broken rows to say that they are", "NaN, empty, review, not valid", answers)


def _check_warmup(loaded: Loaded, folder: Path) -> int:
    from tensorflow_serving.apis import prediction_log_pb2

    count = 0
    for record in tf.data.TFRecordDataset(str(folder / warmup.WARMUP_FILE)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        if log.HasField("predict_log"):
            request = log.predict_log.request
            (value,) = [tf.make_ndarray(tensor) for tensor in request.inputs.values()]
            loaded.ask(request.model_spec.signature_name, value)
        else:
            request = log.classify_log.request
            rows = [example.SerializeToString() for example in request.input.example_list.examples]
            loaded.ask(request.model_spec.signature_name, rows)
        count += 1
    return count


def _held_out(made: run.Run) -> Sequence[run.Prediction]:
    rows = made.predictions()
    step = max(1, len(rows) // IMAGES_COMPARED)
    return rows[::step][:IMAGES_COMPARED]


def _example(file: bytes, feature: str = contract.FEATURE_ENCODED) -> bytes:
    value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[file]))
    return tf.train.Example(
        features=tf.train.Features(feature={feature: value})
    ).SerializeToString()


def _expect(holds: bool, what: str, expected: Any, received: Any) -> None:
    if not holds:
        text = f"Expected {what}: {expected}. Received: {received}."
        raise InputError(" ".join(text.split()))


if __name__ == "__main__":
    sys.exit(main())
