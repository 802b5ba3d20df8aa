"""Real versions of model `line`: sound ones, one that does not load, one that ends the server."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from tests import tiny_models
from tests.integration.local_server_fixtures import save_line

BROKEN = 7
"""A version that does not load."""

FATAL = 8
"""A version that ends the server while it is loaded."""


class _Fatal(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.raw_ops.Abort(error_msg="on purpose")]):
            return {"y": tf.identity(x)}


def save_store(models: Path) -> Path:
    """Versions 1 to 4 of line that are sound, one that does not load and one that is fatal."""
    for version in (1, 2, 3, 4):
        save_line(models / "line" / str(version), float(version))
    broken = models / "line" / str(BROKEN)
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"no graph")
    module = _Fatal()
    folder = tiny_models.save(module, models / "line" / str(FATAL), serving_default=module.serve)
    tiny_models.add_warmup(
        folder,
        'model_spec { name: "line" } inputs { key: "x" value { dtype: DT_FLOAT float_val: 1 '
        "tensor_shape { dim { size: 1 } } } }",
    )
    return models
