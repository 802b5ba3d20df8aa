"""The API that every version of the model answers: names, ports, tensors.

Training, export, the servers, the load test and every caller import these names from here;
configuration files that cannot import are compared with them by a test. It needs the standard
library only, so that anything may import it.

What differs from version to version (image size, class names, threshold, review band) is not here:
it lies in the SavedModel's graph and is read from the server.
"""

from __future__ import annotations

from typing import Final

MODEL_NAME: Final = "image_classifier"
"""The servable's name, which is also the folder under the model store: models/<name>/<version>/."""

MODEL_STORE: Final = "/models"
"""Where models.config expects the store: the path inside TensorFlow Serving's container."""

GRPC_PORT: Final = 8500
"""TensorFlow Serving's default port for gRPC."""

REST_PORT: Final = 8501
"""TensorFlow Serving's usual port for REST."""

LABEL_STABLE: Final = "stable"
"""The label that production asks for."""

LABEL_CANARY: Final = "canary"
"""The label of the version on trial; the stable one's where nothing is on trial."""

LABEL_PREVIOUS: Final = "previous"
"""The label of the version that was stable before: what a rollback goes back to."""

GATE_VERDICT: Final = "assets.extra/gate.json"
"""In a version's folder: what the gate found. export.gate writes it, serving.rollout reads it."""

MODEL_CARD: Final = "assets.extra/model_card.json"
"""In a version's folder: what the version says of itself, its run for one. export writes it."""

# --- signatures ---------------------------------------------------------------------------------

SIGNATURE_DEFAULT: Final = "serving_default"
"""Whole image files in, decisions out: `image_bytes` string [N]."""

SIGNATURE_IMAGES: Final = "predict_images"
"""Pixels in, decisions out: `images` uint8 [N, H, W, 3], RGB, 0-255; H and W are the version's."""

SIGNATURE_CLASSIFY: Final = "classify"
"""TensorFlow Serving's Classify API: serialized tf.Example [N] with the feature `image/encoded`."""

SIGNATURES: Final = (SIGNATURE_DEFAULT, SIGNATURE_IMAGES, SIGNATURE_CLASSIFY)

MAX_ROWS: Final = 1024
"""Most rows of a request, in every signature: a tensor of a few bytes may declare millions. Servers
that merge requests must stay below it (TensorFlow Serving's default max_batch_size is 1000)."""

MAX_JPEG_SCANS: Final = 32
"""Passes over its pixels that a JPEG may ask for: encoders write about ten, optimisers some more,
and a small file can ask for hundreds."""

# --- inputs -------------------------------------------------------------------------------------

INPUT_IMAGE_BYTES: Final = "image_bytes"
"""string [N]: whole JPEG, PNG, GIF (first frame) or BMP files."""

INPUT_IMAGES: Final = "images"
"""uint8 [N, H, W, 3]: RGB, 0-255."""

INPUT_EXAMPLES: Final = "inputs"
"""string [N]: serialized tf.Example. Classify accepts this name alone (kClassifyInputs)."""

FEATURE_ENCODED: Final = "image/encoded"
"""The feature of a tf.Example that holds the image file: one bytes value."""

# --- outputs ------------------------------------------------------------------------------------

OUTPUT_PROBABILITY: Final = "probability"
"""float32 [N], 0-1: of two classes, that of the positive one; of more, that of the label. NaN where
the image is not valid."""

OUTPUT_LABEL: Final = "label"
"""string [N]: the class decided on; empty where the image is not valid."""

OUTPUT_NEEDS_REVIEW: Final = "needs_review"
"""bool [N]: a person should decide (too close to the threshold, or not valid)."""

OUTPUT_VALID: Final = "valid"
"""bool [N]: the image could be decoded."""

DECISION_OUTPUTS: Final = (OUTPUT_PROBABILITY, OUTPUT_LABEL, OUTPUT_NEEDS_REVIEW, OUTPUT_VALID)
"""The outputs of `serving_default` and `predict_images` that have one value an image. Every version
has them."""

OUTPUT_CLASSES: Final = "classes"
"""string [N, K]: the names of the K classes, the same for every image; of two, the negative one
first, then the positive one."""

OUTPUT_SCORES: Final = "scores"
"""float32 [N, K]: the probability of each class, 0-1; NaN where the image is not valid."""

SCORE_OUTPUTS: Final = (OUTPUT_CLASSES, OUTPUT_SCORES)
"""All outputs of `classify`; of `serving_default` and `predict_images` as well, but for versions
from before there could be more than two classes."""

PREDICT_OUTPUTS: Final = DECISION_OUTPUTS + SCORE_OUTPUTS
"""The outputs of `serving_default` and `predict_images`."""

# --- TensorFlow Serving's own names -------------------------------------------------------------

METHOD_PREDICT: Final = "tensorflow/serving/predict"
METHOD_CLASSIFY: Final = "tensorflow/serving/classify"

IMAGE_FORMATS: Final = ("JPEG", "PNG", "GIF", "BMP")
"""What `image_bytes` may hold, by content, not by file name."""

IMAGE_SUFFIXES: Final = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
"""What a folder is searched for, in lower case; the content decides whether it is an image."""
