"""The home-made server that most would write: FastAPI over the same SavedModel.

    python fastapi_app.py VERSION_FOLDER PORT WORKERS

POST /file takes the image file as the body, POST /json TensorFlow Serving's JSON; both answer
TensorFlow Serving's JSON. Plain `def` endpoints, so that FastAPI runs them in its pool of threads
and the event loop stays free; uvicorn with uvloop and httptools. Run by an environment of its own.
"""

import base64
import sys
from pathlib import Path
from typing import Annotated, Any

import fastapi
import pydantic
import tensorflow as tf
import uvicorn


class Instance(pydantic.BaseModel):
    b64: str


class PredictRequest(pydantic.BaseModel):
    instances: list[Instance]


def make_app() -> fastapi.FastAPI:
    """The app; every worker makes its own."""
    predict = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
    app = fastapi.FastAPI()

    def answer(files: list[bytes]) -> dict[str, Any]:
        found = predict(image_bytes=tf.constant(files))
        columns = {name: tensor.numpy().tolist() for name, tensor in found.items()}
        rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
        return {"predictions": [{**row, "label": row["label"].decode()} for row in rows]}

    @app.post("/file")
    def file(
        body: Annotated[bytes, fastapi.Body(media_type="application/octet-stream")],
    ) -> dict[str, Any]:
        return answer([body])

    @app.post("/json")
    def json(request: PredictRequest) -> dict[str, Any]:
        return answer([base64.b64decode(instance.b64) for instance in request.instances])

    return app


if __name__ == "__main__":
    uvicorn.run(
        "fastapi_app:make_app",
        factory=True,
        app_dir=str(Path(__file__).parent),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        workers=int(sys.argv[3]),
        log_level="warning",
        access_log=False,
    )
