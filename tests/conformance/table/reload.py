"""HandleReloadConfigRequest: what changes, what is refused, and what labels then point at."""

from __future__ import annotations

from tests.conformance.case import (
    MODELS,
    Answer,
    Case,
    Expected,
    Request,
    Rpc,
    Step,
    Subject,
    floats,
    invalid,
    predict,
    predicted,
    refused,
    reload,
)
from tests.conformance.setups import LABELS, affine, model, others
from tests.conformance.table.metadata_status import row, states, status
from tests.conformance.table.requests import AFFINE, X, label, spec, version

REST = others("default")
REST_WITHOUT_OLD = REST.replace(model("old"), "")
SWAPPED = {"stable": 2, "canary": 1}
BOTH = states(row(2), row(1))
FIRST_ALONE = states(row(2, "END"), row(1))
NONE = states(row(2, "END"), row(1, "END"))
FIRST = predicted("affine", 1, y=floats(3.0, 4.0))
SECOND = predicted("affine", 2, y=floats(4.0, 5.0))
OK = Answer({"status": {}})
STABLE = predict(spec("affine", label("stable")) + X)
CANARY = predict(spec("affine", label("canary")) + X)
STATUS = status(AFFINE)
WHOLE = affine(labels=LABELS) + REST


def to(models: str) -> Rpc:
    return Rpc("HandleReloadConfigRequest", f"config {{ model_config_list {{ {models} }} }}")


def now(request: Request, expected: Expected) -> Step:
    return Step(request, expected)


def later(request: Request, expected: Expected) -> Step:
    return Step(request, expected, eventually=True)


def unavailable(number: int, name: str = "affine") -> Expected:
    return refused(
        "FAILED_PRECONDITION",
        f"Request to assign label to version {number} of model {name}, which is not currently "
        "available for inference",
    )


def _changes_nothing(name: str, request: Rpc, expected: Expected) -> Case:
    return reload(name, now(request, expected), now(STATUS, BOTH))


NOT_A_LIST = invalid(
    "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is "
    "currently supported"
)

RECORDED = (
    reload("the same", now(to(WHOLE), OK), later(STATUS, BOTH)),
    reload(
        "labels swapped and put back",
        now(to(affine(labels=SWAPPED) + REST), OK),
        later(STATUS, BOTH),
        now(to(WHOLE), OK),
        later(STATUS, BOTH),
    ),
    _changes_nothing(
        "a label on a version that is not loaded",
        to(affine(labels={"stable": 1, "canary": 9}) + REST),
        unavailable(9),
    ),
    _changes_nothing(
        "a model twice",
        to(affine() + affine() + REST),
        invalid("Illegal to list model affine multiple times in config list"),
    ),
    _changes_nothing(
        "a relative path",
        to(affine(base_path="affine") + REST),
        invalid("Expected model affine to have an absolute path or URI; got base_path()=affine"),
    ),
    _changes_nothing(
        "no platform",
        to(affine(labels=LABELS, model_platform="") + REST),
        invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, model name is affine"
        ),
    ),
    _changes_nothing(
        "an unknown platform",
        to(affine(labels=LABELS, model_platform="nope") + REST),
        invalid(
            "Illegal to change a model's platform. For model affine platform was tensorflow and "
            "new platform requested is nope"
        ),
    ),
    _changes_nothing("no name", to(affine(labels=LABELS, name="") + REST), unavailable(1, "")),
    _changes_nothing("an empty request", Rpc("HandleReloadConfigRequest", ""), NOT_A_LIST),
    _changes_nothing("an empty config", Rpc("HandleReloadConfigRequest", "config { }"), NOT_A_LIST),
    _changes_nothing(
        "a custom config",
        Rpc(
            "HandleReloadConfigRequest",
            'config { custom_model_config { type_url: "x" } }',
        ),
        NOT_A_LIST,
    ),
    reload(
        "a version dropped while a label points at it, and not to be had back with the label",
        now(to(affine([1], LABELS) + REST), OK),
        later(STATUS, FIRST_ALONE),
        now(to(WHOLE), unavailable(2)),
        now(STATUS, FIRST_ALONE),
    ),
)

LABELLED = (
    reload(
        "labels swapped answer from the other version",
        now(to(affine(labels=SWAPPED) + REST), OK),
        now(STABLE, SECOND),
        now(CANARY, FIRST),
    ),
    reload(
        "two labels on one version",
        now(to(affine(labels={"stable": 2, "canary": 2}) + REST), OK),
        now(STABLE, SECOND),
        now(CANARY, SECOND),
    ),
    reload(
        "a label dropped",
        now(to(affine(labels={"stable": 1}) + REST), OK),
        now(STABLE, FIRST),
        now(CANARY, invalid("Unrecognized servable version label: canary")),
    ),
    reload(
        "a refused reload leaves the labels",
        now(to(affine(labels={"stable": 2, "canary": 9}) + REST), unavailable(9)),
        now(STABLE, FIRST),
        now(CANARY, SECOND),
    ),
    reload(
        "a label whose version is dropped fails",
        now(to(affine([1], LABELS) + REST), OK),
        later(
            CANARY,
            refused("NOT_FOUND", "Servable not found for request: Specific(affine, 2)"),
        ),
        now(STABLE, FIRST),
    ),
    reload(
        "a version added together with its label is refused",
        now(to(affine([1], {"stable": 1}) + REST), OK),
        later(STATUS, FIRST_ALONE),
        now(to(affine([1, 2], {"stable": 1, "new": 2}) + REST), unavailable(2)),
        now(STATUS, FIRST_ALONE),
    ),
    reload(
        "labels of a model that is omitted are gone with it",
        now(to(REST), OK),
        later(STABLE, invalid("Unrecognized servable version label: stable")),
    ),
)

FLAG = "when new labels may point at what is not available: "

LENIENT = (
    reload(
        FLAG + "a version added together with its label",
        now(to(affine([1], {"stable": 1}) + others("flags")), OK),
        later(STATUS, FIRST_ALONE),
        now(to(affine([1, 2], {"stable": 1, "new": 2}) + others("flags")), OK),
        later(STATUS, BOTH),
        setup="flags",
    ),
    reload(
        FLAG + "a label that waits for its version",
        now(to(affine([1], {"stable": 1, "new": 2}) + others("flags")), OK),
        later(
            predict(spec("affine", label("new")) + X),
            refused("NOT_FOUND", "Servable not found for request: Specific(affine, 2)"),
        ),
        setup="flags",
    ),
    reload(
        FLAG + "an existing label may not",
        now(to(affine([1, 2], {"stable": 9, "canary": 2}) + others("flags")), unavailable(9)),
        now(STATUS, BOTH),
        setup="flags",
    ),
)

VERSIONS = (
    reload(
        "one version",
        now(to(affine([1]) + REST), OK),
        later(STATUS, FIRST_ALONE),
        now(
            predict(spec("affine", version(2)) + X),
            refused("NOT_FOUND", "Servable not found for request: Specific(affine, 2)"),
        ),
    ),
    reload(
        "a version dropped and had back",
        now(to(affine([1]) + REST), OK),
        later(STATUS, FIRST_ALONE),
        now(to(affine([1, 2]) + REST), OK),
        later(STATUS, BOTH),
    ),
    reload(
        "the latest",
        now(to(model("affine", "latest { num_versions: 1 }") + REST), OK),
        later(STATUS, states(row(2), row(1, "END"))),
    ),
    reload(
        "no policy is the latest",
        now(to(model("affine") + REST), OK),
        later(STATUS, states(row(2), row(1, "END"))),
    ),
    reload("all", now(to(model("affine", "all { }") + REST), OK), later(STATUS, BOTH)),
    reload(
        "more of the latest than there are",
        now(to(model("affine", "latest { num_versions: 9 }") + REST), OK),
        later(STATUS, BOTH),
    ),
    reload(
        "a version that is not there is passed over",
        now(to(affine([1, 9]) + REST), OK),
        later(STATUS, FIRST_ALONE),
        now(
            status(spec("affine", version(9))),
            refused("NOT_FOUND", "Could not find version 9 of model affine"),
        ),
    ),
    reload(
        "no versions unload all",
        now(to(affine([]) + REST), OK),
        later(STATUS, NONE),
        now(
            predict(AFFINE + X),
            refused("NOT_FOUND", "Servable not found for request: Latest(affine)"),
        ),
    ),
    reload(
        "a model omitted unloads it",
        now(to(REST), OK),
        later(STATUS, NONE),
        now(
            predict(AFFINE + X),
            refused("NOT_FOUND", "Servable not found for request: Latest(affine)"),
        ),
    ),
    reload(
        "a new model serves when the reload returns",
        now(to(WHOLE + model("again", base_path=f"{MODELS}/affine")), OK),
        now(predict(spec("again") + X), predicted("again", 2, y=floats(4.0, 5.0))),
    ),
    reload(
        "a platform that does not exist for a new model",
        now(
            to(WHOLE + model("again", base_path=f"{MODELS}/affine", model_platform="nope")),
            refused("INVALID_ARGUMENT"),
        ),
        now(STATUS, BOTH),
    ),
)

SUBJECT = Subject("Reload", (*RECORDED, *LABELLED, *LENIENT, *VERSIONS))
