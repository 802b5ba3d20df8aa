"""A packaged server over the same SavedModel: MLServer with its adaptive batching.

    mlserver start FOLDER      with the settings that `servers.mlserver_settings` writes into it

MLServer has no runtime for TensorFlow; this is the smallest one that its documentation describes.
Run by an environment of its own.
"""

import asyncio
import base64
from typing import Any

import tensorflow as tf
from mlserver import MLModel, types

_DATATYPES = {"O": "BYTES", "f": "FP32", "b": "BOOL"}


class Classifier(MLModel):
    async def load(self) -> bool:
        model = tf.saved_model.load(self.settings.parameters.uri)
        self._predict = model.signatures["serving_default"]
        return True

    async def predict(self, payload: types.InferenceRequest) -> types.InferenceResponse:
        # In a thread, or requests that come in the meantime could not be collected for the next
        # batch.
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(None, self._run, list(payload.inputs[0].data))
        outputs = [
            types.ResponseOutput(
                name=name,
                shape=[len(array), 1],
                datatype=_DATATYPES[array.dtype.kind],
                data=array.tolist(),
            )
            for name, array in found.items()
        ]
        return types.InferenceResponse(model_name=self.name, outputs=outputs)

    def _run(self, rows: list[str]) -> dict[str, Any]:
        files = tf.constant([base64.b64decode(row) for row in rows])
        return {name: tensor.numpy() for name, tensor in self._predict(image_bytes=files).items()}
