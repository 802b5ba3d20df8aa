"""REST: status and metadata, and paths and methods that are none."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import (
    Http,
    Page,
    Subject,
    error,
    get,
    post,
    recorded,
)

FINE = {"error_code": "OK", "error_message": ""}
NOT_FOUND = "Servable not found for request: "


def html(status: int, phrase: str) -> Page:
    """The page that libevent answers an error with."""
    title = f"<HTML><HEAD>\n<TITLE>{status} {phrase}</TITLE>\n</HEAD>"
    return Page(status, f"{title}<BODY>\n<H1>{phrase}</H1>\n</BODY></HTML>\n", "text/html")


NO_PAGE = html(404, "Not Found")
BAD_REQUEST = html(400, "Bad Request")
ROW = '{"instances": [1.0]}'
NO_BODY = Page(400, "")
"""A path that cannot be taken apart is refused without a body."""


def status(*versions: int) -> Page:
    rows = [{"version": str(v), "state": "AVAILABLE", "status": FINE} for v in versions]
    return Page(200, {"model_version_status": rows})


def malformed(verb: str, path: str) -> Page:
    return error(400, f"Malformed request: {verb} {path}")


def tensor_info(name: str, dtype: str, *sizes: int, unknown: bool = False) -> dict[str, Any]:
    return {
        "dtype": f"DT_{dtype}",
        "tensor_shape": {
            "dim": [{"size": str(size), "name": ""} for size in sizes],
            "unknown_rank": unknown,
        },
        "name": name,
    }


def signature(inputs: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
    return {
        "inputs": inputs,
        "outputs": outputs,
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }


def metadata(name: str, version: int, **signatures: Any) -> Page:
    return Page(
        200,
        {
            "model_spec": {"name": name, "signature_name": "", "version": str(version)},
            "metadata": {"signature_def": {"signature_def": signatures}},
        },
    )


INIT_OP = {
    "inputs": {},
    "outputs": {"__saved_model_init_op": tensor_info("NoOp", "INVALID", unknown=True)},
    "method_name": "",
    "defaults": {},
}
AFFINE_SIGNATURES = {
    "serving_default": signature(
        {"x": tensor_info("serving_default_x:0", "FLOAT", -1)},
        {"y": tensor_info("StatefulPartitionedCall:0", "FLOAT", -1)},
    ),
    "__saved_model_init_op": INIT_OP,
}
MANY_SIGNATURES = {
    "guarded": signature(
        {"a": tensor_info("guarded_a:0", "FLOAT", unknown=True)},
        {"total": tensor_info("PartitionedCall:0", "FLOAT", -1)},
    ),
    "lengths": signature(
        {"text": tensor_info("lengths_text:0", "STRING", -1)},
        {"length": tensor_info("PartitionedCall_1:0", "INT32", -1)},
    ),
    "serving_default": signature(
        {
            "a": tensor_info("serving_default_a:0", "FLOAT", -1, 3),
            "b": tensor_info("serving_default_b:0", "INT64", -1),
        },
        {
            "name": tensor_info("PartitionedCall_2:0", "STRING", -1),
            "parity": tensor_info("PartitionedCall_2:1", "BOOL", -1),
            "total": tensor_info("PartitionedCall_2:2", "FLOAT", -1),
        },
    ),
    "__saved_model_init_op": INIT_OP,
}

MODELS = "/v1/models"
BASE = "/v1/models/affine"

PAGES = Subject(
    "REST pages",
    (
        recorded("status", get(BASE), status(2, 1)),
        recorded("status by version", get(f"{BASE}/versions/1"), status(1)),
        recorded("status by label", get(f"{BASE}/labels/stable"), status(2, 1)),
        recorded("status by unknown label", get(f"{BASE}/labels/nope"), status(2, 1)),
        recorded(
            "status by unknown version",
            get(f"{BASE}/versions/9"),
            error(404, "Could not find version 9 of model affine"),
        ),
        recorded(
            "status of an unknown model",
            get("/v1/models/nope"),
            error(404, "Could not find any versions of model nope"),
        ),
        recorded("metadata", get(f"{BASE}/metadata"), metadata("affine", 2, **AFFINE_SIGNATURES)),
        recorded(
            "metadata by label",
            get(f"{BASE}/labels/stable/metadata"),
            metadata("affine", 1, **AFFINE_SIGNATURES),
        ),
        recorded(
            "metadata by version",
            get(f"{BASE}/versions/1/metadata"),
            metadata("affine", 1, **AFFINE_SIGNATURES),
        ),
        recorded(
            "metadata by unknown label",
            get(f"{BASE}/labels/nope/metadata"),
            error(400, "Unrecognized servable version label: nope"),
        ),
        recorded(
            "metadata by unknown version",
            get(f"{BASE}/versions/9/metadata"),
            error(404, NOT_FOUND + "Specific(affine, 9)"),
        ),
        recorded(
            "metadata of an unknown model",
            get("/v1/models/nope/metadata"),
            error(404, NOT_FOUND + "Latest(nope)"),
        ),
        recorded(
            "metadata of several signatures",
            get("/v1/models/many/metadata"),
            metadata("many", 1, **MANY_SIGNATURES),
        ),
        recorded("letters of a path do not matter", get("/V1/Models/affine/Versions/1"), status(1)),
        recorded(
            "letters of a model's name do",
            get("/v1/models/AFFINE"),
            error(404, "Could not find any versions of model AFFINE"),
        ),
        recorded("a version with leading zeros", get(f"{BASE}/versions/0001"), status(1)),
        recorded("an escaped letter in a name", get("/v1/models/af%66ine"), status(2, 1)),
    ),
)

PATHS = Subject(
    "REST paths",
    (
        recorded("no model", get(MODELS), error(400, "Missing model name in request.")),
        recorded("an empty model", get(f"{MODELS}/"), malformed("GET", f"{MODELS}/")),
        recorded("root", get("/"), NO_PAGE),
        recorded("another API version", get("/v2/models/affine"), NO_PAGE),
        recorded(
            "a call asked with GET", get(f"{BASE}:predict"), malformed("GET", f"{BASE}:predict")
        ),
        recorded("a page asked with POST", post(BASE, "{}"), malformed("POST", BASE)),
        recorded(
            "a call asked with PUT",
            Http("PUT", f"{BASE}:predict", ROW),
            malformed("PUT", f"{BASE}:predict"),
        ),
        recorded("a page asked with DELETE", Http("DELETE", BASE), malformed("DELETE", BASE)),
        recorded("an unknown call", post(f"{BASE}:nope", ROW), malformed("POST", f"{BASE}:nope")),
        recorded("a page asked with PATCH", Http("PATCH", BASE, "{}"), malformed("PATCH", BASE)),
        recorded("a page asked with HEAD", Http("HEAD", BASE), Page(400)),
        recorded("no model, but metadata", get("/v1/models/metadata"), Page(404)),
        recorded("v1 without more", get("/v1"), NO_PAGE),
        recorded("v1 and a slash", get("/v1/"), malformed("GET", "/v1/")),
        recorded("another page of v1", get("/v1/nope"), malformed("GET", "/v1/nope")),
        recorded("a slash at the end", get(f"{BASE}/"), malformed("GET", f"{BASE}/")),
        recorded("two slashes", get("/v1/models//affine"), malformed("GET", "/v1/models//affine")),
        recorded(
            "a version that is no number",
            get(f"{BASE}/versions/x"),
            malformed("GET", f"{BASE}/versions/x"),
        ),
        recorded(
            "a negative version",
            get(f"{BASE}/versions/-1"),
            malformed("GET", f"{BASE}/versions/-1"),
        ),
        recorded("no version", get(f"{BASE}/versions/"), malformed("GET", f"{BASE}/versions/")),
        recorded("a version too large", get(f"{BASE}/versions/9223372036854775808"), NO_BODY),
        recorded(
            "a call with a version too large",
            post(f"{BASE}/versions/99999999999999999999:predict", ROW),
            NO_BODY,
        ),
        recorded(
            "a version and a label",
            get(f"{BASE}/versions/1/labels/stable"),
            malformed("GET", f"{BASE}/versions/1/labels/stable"),
        ),
        recorded("no label", get(f"{BASE}/labels/"), malformed("GET", f"{BASE}/labels/")),
        recorded(
            "a call in capitals",
            post(f"{BASE}:PREDICT", ROW),
            malformed("POST", f"{BASE}:PREDICT"),
        ),
        recorded(
            "two calls",
            post(f"{BASE}:predict:predict", ROW),
            malformed("POST", f"{BASE}:predict:predict"),
        ),
        recorded(
            "dots in a path",
            get("/v1/models/../../etc/passwd"),
            malformed("GET", "/v1/models/../../etc/passwd"),
        ),
        recorded(
            "dots as a name",
            get("/v1/models/.."),
            error(404, "Could not find any versions of model .."),
        ),
        recorded(
            "escaped slashes in a name",
            get("/v1/models/..%2F..%2Fetc%2Fpasswd"),
            error(404, "Could not find any versions of model ../../etc/passwd"),
        ),
        recorded(
            "an escaped slash before versions",
            get("/v1/models/affine%2Fversions"),
            error(404, "Could not find any versions of model affine/versions"),
        ),
        recorded(
            "an escaped zero byte",
            get("/v1/models/affine%00"),
            error(404, "Could not find any versions of model affine\0"),
        ),
        recorded(
            "escaped bytes that are no UTF-8",
            get("/v1/models/%ff%fe"),
            Page(404),
        ),
        recorded(
            "a percent sign alone",
            get("/v1/models/100%"),
            BAD_REQUEST,
        ),
        recorded("brackets in a path", get("/v1/models/{affine}"), BAD_REQUEST),
        recorded(
            "a long question that ends badly",
            get(f"{BASE}?" + "a" * 4000 + "{"),
            BAD_REQUEST,
        ),
        recorded(
            "a fragment is a part of the name",
            get(f"{BASE}#top"),
            error(404, "Could not find any versions of model affine#top"),
        ),
        recorded(
            "a question is a part of the name",
            get(f"{BASE}?verbose=1"),
            error(404, "Could not find any versions of model affine?verbose=1"),
        ),
        recorded(
            "a question after a call",
            post(f"{BASE}:predict?x=1", ROW),
            malformed("POST", f"{BASE}:predict?x=1"),
        ),
    ),
)
