"""A web service that classifies pictures: HTTP for its callers, gRPC to the model server.

    pip install ./serving/client -r examples/service/requirements.txt
    uvicorn --app-dir examples/service app:app --port 8080
    curl --data-binary @picture.png -H "X-Request-ID: order-17" localhost:8080/classify

Settings are environment variables; Settings below names them. Each worker process
(`uvicorn --workers 4`) opens a client of its own and keeps its connection for all requests.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import uuid
from collections.abc import AsyncIterator

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

from tfs_client import AsyncClient, AsyncImageClassifier, CallError, Servable, TfsError

log = logging.getLogger("uvicorn.error")

MAX_BODY_BYTES = 20 * 2**20
REQUEST_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What differs between a laptop and production."""

    target: str
    """TFS_TARGET: the model server's gRPC port."""
    label: str
    """TFS_LABEL: of the version to ask; where it cannot answer, the stable one is asked."""
    timeout_s: float
    """TFS_TIMEOUT_S: deadline of a whole call, with its retries and its fallback."""
    default: bool
    """TFS_DEFAULT: where no version answers, 1 says "a person must look", 0 is an HTTP error."""

    @classmethod
    def from_environment(cls) -> Settings:
        """Reads the variables."""
        return cls(
            target=os.environ.get("TFS_TARGET", "localhost:8500"),
            label=os.environ.get("TFS_LABEL", "stable"),
            timeout_s=float(os.environ.get("TFS_TIMEOUT_S", "2")),
            default=os.environ.get("TFS_DEFAULT", "1") == "1",
        )


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One client for the life of the process; opening it sends nothing."""
    settings = Settings.from_environment()
    async with AsyncClient(settings.target, timeout_s=settings.timeout_s) as client:
        app.state.client = client
        app.state.label = settings.label
        app.state.classifier = AsyncImageClassifier(
            client,
            label=settings.label,
            fallback=[Servable(label="stable")] if settings.label != "stable" else [],
            default=settings.default,
        )
        yield  # and on the way out the client closes: calls under way are cancelled


app = FastAPI(title="Picture classifier", lifespan=lifespan)


@app.post("/classify")
async def classify(request: Request) -> dict[str, object]:
    """Classifies the picture in the request's body: a JPEG, PNG, GIF or BMP file as it is.

    The request id goes to the model server and into the answer and the log, so that the true
    class, which is known later, can be joined with what was predicted.
    """
    request_id = request.headers.get("x-request-id", "")
    if not REQUEST_ID.fullmatch(request_id):
        request_id = uuid.uuid4().hex
    request.state.request_id = request_id
    picture = await body_of(request)
    answer = await request.app.state.classifier.predict(picture, request_id=request_id)
    if answer.reason:
        by = answer.answered_by
        log.warning("request %s was answered by %s: %s", request_id, by, answer.reason)
    return {
        "request_id": answer.request_id,
        "label": answer.label,
        # Not a number where no version answered; JSON has no such number.
        "probability": answer.probability if answer.valid else None,
        "needs_review": answer.needs_review,
        "model_version": answer.model_version,
        "answered_by": answer.answered_by,
    }


async def body_of(request: Request) -> bytes:
    """The request's body, read no further than the limit.

    Raises:
        HTTPException: 413, it is larger.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"Expected at most {MAX_BODY_BYTES} bytes")
    return bytes(body)


@app.get("/livez")
async def alive() -> dict[str, str]:
    """This process answers. A model server that is down is no reason to restart this one."""
    return {"status": "alive"}


@app.get("/readyz")
async def ready(request: Request) -> dict[str, object]:
    """The model server answers for our label; if it does not, 503: send callers elsewhere."""
    state = request.app.state
    try:
        metadata = await state.client.wait_ready(state.label, timeout_s=0.5)
    except CallError as error:
        raise HTTPException(503, f"{state.label} is not ready: {type(error).__name__}") from error
    return {"status": "ready", "model_version": metadata.version}


@app.exception_handler(TfsError)
async def as_http(request: Request, error: TfsError) -> JSONResponse:
    """Turns the client's errors into HTTP: callers get one public sentence, the log all of it."""
    status = error.http_status
    request_id = getattr(request.state, "request_id", "")
    level = logging.ERROR if status >= 500 else logging.INFO
    log.log(level, "request %s %s: %s", request_id, request.url.path, error)
    found = {"error": type(error).__name__, "detail": error.public, "request_id": request_id}
    return JSONResponse(found, status, {"Retry-After": "1"} if status == 503 else None)
