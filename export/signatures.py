"""From a trained model to the contract's three signatures, with everything a caller could get
wrong inside the graph: decoding, resizing, scaling, threshold, class names, review band.

The only place that writes a TensorSpec.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tfs_client import contract
from training.config import RunConfig
from training.data import preprocessing
from training.decision.decision import INSIDE, NONE, AnyDecision, Calibration, Decision

PIXELS_A_STEP = 128 * 64 * 64
"""Larger requests are computed in steps, so that the layers' memory does not grow with the rows:
112 MiB in place of 913 for 1,024 rows of 64x64."""


class Servable(tf.Module):
    """The object that is saved: no variables, three signatures.

    The weights are frozen into one function that all signatures call, so each weight is in the
    SavedModel once and no optimizer state can be. (ExportArchive stores each weight twice, and a
    Keras 3 model inside a plain tf.Module fails every request in TensorFlow Serving.)

    Args:
        model: as architectures.build_model gives it.
        config: of the run.
        class_names: K of them; of two, negative, positive.
        decision: from probabilities to an answer.
    """

    def __init__(
        self,
        model: keras.Model,
        config: RunConfig,
        class_names: tuple[str, ...],
        decision: AnyDecision,
    ):
        super().__init__(name="servable")
        self._config = config
        self._class_names = class_names
        self._decision = decision
        self._size = (config.image_height, config.image_width)
        self._probabilities = _frozen(model, self._size)

    def signatures(self) -> dict[str, Any]:
        """The contract's signatures, by name, as tf.saved_model.save takes them."""
        rows = tf.TensorSpec([None], tf.string, name=contract.INPUT_IMAGE_BYTES)
        images = tf.TensorSpec([None, *self._size, 3], tf.uint8, name=contract.INPUT_IMAGES)
        examples = tf.TensorSpec([None], tf.string, name=contract.INPUT_EXAMPLES)
        return {
            contract.SIGNATURE_DEFAULT: _signature(self._predict_files, rows),
            contract.SIGNATURE_IMAGES: _signature(self._predict_images, images),
            contract.SIGNATURE_CLASSIFY: _signature(self._classify, examples),
        }

    def _predict_files(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        image_bytes = _rows_of_strings(image_bytes)
        images, valid = preprocessing.decode_rows(image_bytes, *self._size, self._config.max_pixels)
        return self._decide(images, valid)

    def _predict_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        # First of all: a wrong rank in a convolution would end the whole server process.
        images = _few_rows(tf.ensure_shape(images, [None, *self._size, 3]))
        return self._decide(images, tf.fill([tf.shape(images)[0]], True))

    def _classify(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        files = _images_of_examples(_rows_of_strings(examples))
        images, valid = preprocessing.decode_rows(files, *self._size, self._config.max_pixels)
        return self._of_classes(self._scores_or_nan(images, valid))

    def _scores_or_nan(self, images: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        """float32 [N, K], calibrated; NaN where the image is not valid."""
        scores = _calibrated(self._probabilities(images), self._decision.calibration)
        return tf.where(valid[:, tf.newaxis], scores, np.float32("nan"))

    def _of_classes(self, scores: tf.Tensor) -> dict[str, tf.Tensor]:
        names = tf.constant([self._class_names])
        return {
            contract.OUTPUT_CLASSES: tf.tile(names, [tf.shape(scores)[0], 1]),
            contract.OUTPUT_SCORES: scores,
        }

    def _decide(self, images: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = self._scores_or_nan(images, valid)
        decide = self._of_two if isinstance(self._decision, Decision) else self._of_many
        probability, place, review = decide(scores)
        # Weights that overflow give NaN for a good picture, which is below any threshold.
        finite = tf.reduce_all(tf.math.is_finite(scores), axis=1)
        label = tf.gather(list(self._class_names), place)
        return {
            contract.OUTPUT_PROBABILITY: probability,
            contract.OUTPUT_LABEL: tf.where(finite, label, ""),
            contract.OUTPUT_NEEDS_REVIEW: review | ~finite,
            contract.OUTPUT_VALID: valid,
            **self._of_classes(scores),
        }

    def _of_two(self, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Probability, place of the label and whether a person should decide: [N] each."""
        decision = self._decision
        probability = scores[:, 1]
        place = tf.cast(probability >= np.float32(decision.threshold), tf.int32)
        band = decision.review
        close = (probability >= np.float32(band.low)) & (probability < np.float32(band.high))
        return probability, place, close

    def _of_many(self, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """As _of_two; the probability is that of the label."""
        decision = self._decision
        highest, _ = tf.math.top_k(scores, 2)
        top, lead = highest[:, 0], highest[:, 0] - highest[:, 1]
        close = (top < np.float32(decision.least_top)) | (lead < np.float32(decision.least_lead))
        # As numpy's argmax, it takes the first of equal ones.
        return top, tf.argmax(scores, axis=1, output_type=tf.int32), close


def _signature(function: Any, spec: tf.TensorSpec) -> Any:
    """A concrete function whose one input has the contract's name."""
    # Autograph would look for Python control flow to convert; there is none.
    return tf.function(function, autograph=False).get_concrete_function(spec)


def _rows_of_strings(rows: tf.Tensor) -> tf.Tensor:
    return _few_rows(tf.ensure_shape(rows, [None]))


def _few_rows(rows: tf.Tensor) -> tf.Tensor:
    """Refuses more rows than the contract allows: a request of 66 bytes may declare millions."""
    count = tf.shape(rows, tf.int64)[0]
    few = tf.raw_ops.Assert(
        condition=count <= contract.MAX_ROWS,
        data=[
            f"Expected at most {contract.MAX_ROWS} rows. Send smaller requests. Received:",
            count,
        ],
    )
    with tf.control_dependencies([few]):
        return tf.identity(rows)


def _images_of_examples(examples: tf.Tensor) -> tf.Tensor:
    """Serialized tf.Examples -> the image files in them; empty where there is none."""
    index, files = preprocessing.map_rows(
        _image_of_example,
        tf.fill(tf.shape(examples), True),
        preprocessing.ROWS_AT_ONCE,
        examples,
    )
    return tf.tensor_scatter_nd_update(tf.fill(tf.shape(examples), ""), index, files)


def _image_of_example(serialized: tf.Tensor) -> tf.Tensor:
    """Reads the image file out of an example: string [] -> string [].

    Message by message, and not with tf.io.parse_single_example: that trusts the lengths in the
    bytes, and one of 2^31 or more ends the server's process.

    Raises:
        tf.errors.OpError: the bytes are no tf.Example, or the feature is missing, of another type,
            or not exactly one value.
    """
    (features,) = _messages(serialized, "Example", "features")
    (entries,) = _messages(_last(features), "Features", "feature")
    keys, values = _messages(entries, "Features.FeatureEntry", "key", "value")
    wanted = tf.equal(keys[:, 0], contract.FEATURE_ENCODED)
    # An entry that stands twice counts as it stands last, as in every map of protocol buffers.
    (lists,) = _messages(_last(values[:, 0][wanted]), "Feature", "bytes_list")
    (images,) = _messages(_last(lists), "BytesList", "value")
    one = tf.raw_ops.Assert(
        condition=tf.equal(tf.size(images), 1),
        data=[f"not one value in {contract.FEATURE_ENCODED}"],
    )
    with tf.control_dependencies([one]):
        return tf.identity(images[0])


def _calibrated(probabilities: tf.Tensor, calibration: Calibration) -> tf.Tensor:
    """float32 [N, 1] or [N, K], as the model gives them -> float32 [N, K].

    As Calibration.apply_to_all does.
    """
    of_two = probabilities.shape[1] == 1
    slope = np.float32(calibration.slope)
    if calibration.method != NONE and of_two:
        inside = tf.clip_by_value(probabilities, INSIDE, 1 - INSIDE)
        logit = tf.math.log(inside) - tf.math.log1p(-inside)
        probabilities = tf.sigmoid(slope * logit + np.float32(calibration.intercept))
    elif calibration.method != NONE:
        probabilities = tf.nn.softmax(slope * tf.math.log(tf.maximum(probabilities, INSIDE)))
    return tf.concat([1.0 - probabilities, probabilities], axis=1) if of_two else probabilities


def _messages(serialized: tf.Tensor, message: str, *fields: str) -> list[tf.Tensor]:
    """Fields of a message of tensorflow's, as bytes: string [...] -> string [..., repeats] each."""
    decoded = tf.io.decode_proto(
        serialized, f"tensorflow.{message}", list(fields), [tf.string] * len(fields)
    )
    return list(decoded.values)


def _last(values: tf.Tensor) -> tf.Tensor:
    """string [N] -> string []; an empty message where there is none."""
    return tf.concat([[b""], values], axis=0)[-1]


def _frozen(model: keras.Model, size: tuple[int, int]) -> Any:
    """Scaling and model as one function without variables: uint8 [N, H, W, 3] -> float32 [N, K].

    Of two classes [N, 1], as the model.

    An empty batch gives an empty answer: some operations fail on zero rows, so one row of zeros is
    computed and cut off again. It is added before scaling: TensorFlow fuses a padding that stands
    right before a convolution with it, and on CPUs where it uses oneDNN (AVX-512 VNNI) that kernel
    refuses the empty batch ("input depth must be evenly divisible by filter depth").
    """

    @tf.function(input_signature=[tf.TensorSpec([None, *size, 3], tf.uint8)], autograph=False)
    def probabilities(images: tf.Tensor) -> tf.Tensor:
        count = tf.shape(images)[0]
        padding = tf.cast(tf.equal(count, 0), tf.int32)
        images = tf.pad(images, [[0, padding], [0, 0], [0, 0], [0, 0]])
        scaled = preprocessing.scale(images)
        return tf.cast(model(scaled, training=False)[:count], tf.float32)

    constant = convert_variables_to_constants_v2(probabilities.get_concrete_function())
    outputs = model.output_shape[-1]

    rows_a_step = max(1, PIXELS_A_STEP // (size[0] * size[1]))

    def some(images: tf.Tensor) -> tf.Tensor:
        # a frozen function answers a list
        (answer,) = constant(images)
        return answer

    def call(images: tf.Tensor) -> tf.Tensor:
        few = tf.shape(images)[0] <= rows_a_step
        answer = tf.cond(few, lambda: some(images), lambda: _in_steps(some, images, rows_a_step))
        return tf.ensure_shape(answer, [None, outputs])

    return call


def _in_steps(
    function: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor, rows_a_step: int
) -> tf.Tensor:
    """[N, ...] -> float32 [N, K], so many rows at a time."""
    count = tf.shape(images)[0]
    answers = tf.TensorArray(
        tf.float32, size=0, dynamic_size=True, infer_shape=False, element_shape=[None, None]
    )

    def step(start: tf.Tensor, answers: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        answer = function(images[start : start + rows_a_step])
        return start + rows_a_step, answers.write(start // rows_a_step, answer)

    _, answers = tf.while_loop(
        lambda start, _: start < count, step, (tf.constant(0), answers), parallel_iterations=1
    )
    return answers.concat()
