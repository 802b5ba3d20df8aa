"""Fallback chains and routers: which servable answers, and what is logged about it."""

from __future__ import annotations

import contextlib
import json
import math
import time

import grpc
import numpy as np
import pytest

from tfs_client import (
    AnswerError,
    ExposureLog,
    InputNameError,
    InvalidRequestError,
    NotFoundError,
    Observer,
    RequestError,
    Router,
    Servable,
    ServerError,
    UnavailableError,
)

CANARY = Servable(model="echo", label="canary")


def ask(client, **settings):
    return client.predict({"x": [1.0]}, model="echo", label="stable", **settings)


def broken_for(server, *labels, code=grpc.StatusCode.INTERNAL, text="broken model"):
    """Has Predict fail for these labels."""
    honest = server.usual("Predict")

    def answer(request, context):
        if request.model_spec.version_label in labels:
            context.abort(code, text)
        return honest(request, context)

    server.handlers["Predict"] = answer


def test_the_first_who_can_answers_and_says_so(client):
    answer = ask(client, fallback=[CANARY], default={"x": [0.0]})
    assert (answer.version, answer.answered_by) == (1, "echo/labels/stable")
    assert (answer.reason, answer.needs_review) == ("", False)
    assert client.fallback_counts == {"echo/labels/stable": 1}


def test_the_next_one_answers_and_says_why(server, client, caplog):
    broken_for(server, "stable")
    answer = ask(client, fallback=[CANARY], default={"x": [0.0]})
    assert (answer.version, answer.answered_by) == (2, "echo/labels/canary")
    assert answer.reason.startswith("echo/labels/stable: ServerError: Expected ")
    assert "broken model" in answer.reason
    assert answer["x"].tolist() == [1.0]
    assert not answer.needs_review
    assert client.fallback_counts == {"echo/labels/canary": 1}
    (line,) = [one.message for one in caplog.records if "could not answer" in one.message]
    assert line.startswith("echo/labels/stable could not answer, asking echo/labels/canary: ")


def test_a_default_is_marked_for_review_with_all_the_reasons(server, client):
    broken_for(server, "stable", "canary")
    answer = ask(client, fallback=[CANARY], default={"x": np.float32([7])})
    assert answer["x"].tolist() == [7.0]
    assert (answer.answered_by, answer.version) == ("default", 0)
    assert answer.needs_review
    assert "echo/labels/stable: ServerError" in answer.reason
    assert "echo/labels/canary: ServerError" in answer.reason
    assert client.fallback_counts == {"default": 1}


def test_without_a_default_the_first_ones_error_is_raised(server, client):
    broken_for(server, "stable", text="the first")
    with pytest.raises(Exception, match="the first"):
        ask(client, fallback=[Servable(model="echo", version=9)])


def test_the_log_says_what_comes_next_and_counts_only_answers(server, open_client, caplog):
    broken_for(server, "stable", "canary")
    asked: list[str] = []

    class Watching(Observer):
        def fell_back(self, servable, to, error):
            asked.append(to)

    client = open_client(server.target, observers=[Watching()])
    with pytest.raises(ServerError):
        ask(client, fallback=[CANARY])
    said = [one.message for one in caplog.records if "could not answer" in one.message]
    assert said[0].startswith("echo/labels/stable could not answer, asking echo/labels/canary: ")
    assert said[1].startswith("echo/labels/canary could not answer, nobody else to ask: ")
    assert "default" not in said[1]
    assert (asked, client.fallback_counts) == (["echo/labels/canary", "nobody"], {})
    ask(client, default={"x": [0.0]})
    said = [one.message for one in caplog.records if "could not answer" in one.message]
    assert said[2].startswith(
        "echo/labels/stable could not answer, nobody else to ask, the default stands in: "
    )
    assert (asked[2:], client.fallback_counts) == (["default"], {"default": 1})


def test_images_without_a_default_have_nobody_else_to_ask(
    server, client, make_classifier, as_file, caplog
):
    broken_for(server, "stable", "canary")
    for default in (False, True):
        classifier = make_classifier(client, fallback=[Servable(label="canary")], default=default)
        with contextlib.nullcontext() if default else pytest.raises(ServerError):
            classifier.predict(as_file())
        said = [one.message for one in caplog.records if "nobody else to ask" in one.message]
        assert [", the default stands in: " in one for one in said] == [False, True][: default + 1]


@pytest.mark.parametrize(
    "first",
    [
        Servable(model="echo", label="no such label"),
        Servable(model="echo", version=9),
        Servable(model="no such model"),
    ],
    ids=str,
)
def test_what_is_not_there_falls_back(client, first):
    answer = client.predict(
        {"x": [1.0]},
        model=first.model,
        label=first.label,
        version=first.version,
        fallback=[CANARY],
    )
    assert answer.answered_by == "echo/labels/canary"


def test_a_dead_server_falls_back_to_another_servers_model(server, make_server, open_client):
    other = open_client(make_server().target)
    client = open_client(server.target)
    other_one = Servable(model="echo", label="canary", client=getattr(other, "wrapped", other))
    server.stop()
    answer = ask(client, fallback=[other_one])
    assert (answer.version, answer.answered_by) == (2, "echo/labels/canary")
    assert "RefusedError" in answer.reason


def test_a_server_that_lies_falls_back(server, client):
    honest = server.usual("Predict")

    def lie(request, context):
        response = honest(request, context)
        if request.model_spec.version_label == "stable":
            response.outputs["x"].tensor_content = b"123"
        return response

    server.handlers["Predict"] = lie
    assert ask(client, fallback=[CANARY]).version == 2
    with pytest.raises(AnswerError):
        ask(client)


def test_a_server_that_hangs_leaves_time_for_the_next(server, client):
    honest = server.usual("Predict")

    def hang(request, context):
        if request.model_spec.version_label == "stable":
            time.sleep(1.0)
        return honest(request, context)

    server.handlers["Predict"] = hang
    start = time.monotonic()
    answer = ask(client, fallback=[CANARY], timeout_s=0.8)
    assert answer.version == 2
    assert "DeadlineExceededError" in answer.reason
    assert time.monotonic() - start < 0.8
    quick = Servable(model="echo", label="canary", timeout_s=0.1)
    answer = client.predict({"x": [1.0]}, model="echo", version=1, fallback=[quick], timeout_s=5)
    assert answer.version == 1


def test_a_callers_mistake_does_not_fall_back(server, client):
    with pytest.raises(InputNameError):
        client.predict({"y": [1.0]}, model="echo", fallback=[CANARY], default={"x": [0.0]})
    broken_for(server, "stable", code=grpc.StatusCode.INVALID_ARGUMENT, text="your fault")
    with pytest.raises(InvalidRequestError, match="your fault"):
        ask(client, fallback=[CANARY], default={"x": [0.0]})
    with pytest.raises(RequestError, match="Expected fallback as a list of Servable"):
        ask(client, fallback=["canary"])
    with pytest.raises(RequestError, match="Expected default"):
        ask(client, default=3)


def test_many_fallbacks_are_one_log_line_a_second(server, client, caplog):
    broken_for(server, "stable")
    for _ in range(50):
        ask(client, fallback=[CANARY])
    lines = [one for one in caplog.records if "could not answer" in one.message]
    assert 1 <= len(lines) <= 4  # of two kinds: the failure itself, and the circuit it opened
    assert client.fallback_counts["echo/labels/canary"] == 50


# --- routers --------------------------------------------------------------------------------------


def test_a_router_deals_callers_and_writes_down_who_answered(server, client, tmp_path):
    with ExposureLog(tmp_path / "exposures.jsonl") as log:
        router = Router({"stable": 50, "canary": 50}, experiment="e", on_exposure=log)
        answers = {
            key: client.predict({"x": [1.0]}, model="echo", router=router, key=key)
            for key in range(40)
        }
        broken_for(server, "canary")
        lost = next(key for key, answer in answers.items() if answer.version == 2)
        saved = client.predict(
            {"x": [1.0]},
            model="echo",
            router=router,
            key=lost,
            fallback=[Servable(model="echo", label="stable")],
            request_id="mine",
        )
        with pytest.raises(Exception, match="broken model"):
            client.predict({"x": [1.0]}, model="echo", router=router, key=lost)
    for key, answer in answers.items():
        assert answer.version == {"stable": 1, "canary": 2}[router.assign(key).label]
    assert {answer.version for answer in answers.values()} == {1, 2}
    lines = [json.loads(line) for line in (tmp_path / "exposures.jsonl").read_text().splitlines()]
    assert len(lines) == 42
    assert [line["request_id"] for line in lines[:40]] == [
        answer.request_id for answer in answers.values()
    ]
    assert [line["version"] for line in lines[:40]] == [one.version for one in answers.values()]
    # An exposure counts for the label that was assigned, also where a fallback answered.
    assert (lines[40]["label"], lines[40]["answered_by"], lines[40]["request_id"]) == (
        *("canary", "echo/labels/stable", "mine"),
    )
    assert saved.version == 1
    assert (lines[41]["label"], lines[41]["error"]) == ("canary", "ServerError")
    assert server.requests[-1].metadata["x-request-id"] == lines[41]["request_id"]


def test_the_kill_switch_sends_everybody_to_the_control(client):
    router = Router({"stable": 1, "canary": 99}, experiment="e")
    router.kill("canary")
    answers = [
        client.predict({"x": [1.0]}, model="echo", router=router, key=key) for key in range(10)
    ]
    assert {answer.version for answer in answers} == {1}


def test_a_router_wants_a_key_and_a_key_a_router(client):
    router = Router({"stable": 1}, experiment="e")
    with pytest.raises(RequestError, match="Expected key"):
        ask(client, router=router)
    with pytest.raises(RequestError, match="Expected router"):
        ask(client, key="user")


# --- images ---------------------------------------------------------------------------------------


def test_images_fall_back_to_versions_of_another_size(server, client, make_classifier, picture):
    broken_for(server, "stable")
    classifier = make_classifier(client, fallback=[Servable(label="canary")])
    answer = classifier.predict(picture)
    assert (answer.model_version, answer.answered_by) == (2, "image_classifier/labels/canary")
    assert "image_classifier/labels/stable: ServerError" in answer.reason


def test_images_get_a_default_that_asks_for_a_person(server, client, make_classifier, as_file):
    broken_for(server, "stable")
    answers = make_classifier(client, default=True).predict_many([as_file(), as_file()])
    for answer in answers:
        assert (answer.label, answer.needs_review, answer.valid) == ("", True, True)
        assert math.isnan(answer.probability)
        assert (answer.answered_by, answer.model_version) == ("default", 0)
        assert "broken model" in answer.reason
    server.stop()
    with pytest.raises(UnavailableError):
        make_classifier(client).predict(as_file())


def test_a_default_never_hides_a_version_that_is_not_there(client, make_classifier, as_file):
    with pytest.raises(NotFoundError):
        make_classifier(client, version=9).predict(as_file())
    answer = make_classifier(client, version=9, default=True).predict(as_file())
    assert "NotFoundError" in answer.reason


def test_images_are_dealt_by_a_router(client, make_classifier, as_file, tmp_path):
    with ExposureLog(tmp_path / "exposures.jsonl") as log:
        router = Router({"stable": 50, "canary": 50}, experiment="e", on_exposure=log)
        classifier = make_classifier(client, router=router)
        answers = classifier.predict_many([as_file()] * 3, key="user", request_id="r")
        versions = {classifier.predict(as_file(), key=key).model_version for key in range(20)}
    assert versions == {1, 2}
    assert [answer.request_id for answer in answers] == ["r-0", "r-1", "r-2"]
    lines = (tmp_path / "exposures.jsonl").read_text().splitlines()
    assert [json.loads(line)["request_id"] for line in lines[:3]] == ["r-0", "r-1", "r-2"]
    assert len(lines) == 23


def test_an_exposure_says_what_was_decided_if_something_was(
    server, client, make_classifier, as_file, tmp_path
):
    with ExposureLog(tmp_path / "exposures.jsonl") as log:
        router = Router({"canary": 1}, experiment="e", control="canary", on_exposure=log)
        classifier = make_classifier(client, router=router, default=True)
        sources = [as_file(), as_file()[:5000]]
        good, broken = classifier.predict_many(sources, key="user", request_id="r")
        client.predict({"x": [1.0]}, model="echo", router=router, key="user")
        broken_for(server, "canary")
        classifier.predict(as_file(), key="user")
        with pytest.raises(ServerError):
            make_classifier(client, router=router).predict(as_file(), key="user")
    lines = [json.loads(line) for line in (tmp_path / "exposures.jsonl").read_text().splitlines()]
    decided = {line["request_id"]: (line["predicted"], line["probability"]) for line in lines[:2]}
    assert decided == {
        "r-0": ("defective", pytest.approx(0.2)),
        "r-1": ("", None),  # not valid, so NaN: the line is written all the same
    }
    assert (good.label, broken.label) == ("defective", "")
    assert [line["answered_by"] for line in lines[2:]] == ["echo/labels/canary", "default", ""]
    assert {(line["predicted"], line["probability"]) for line in lines[2:]} == {("", None)}


def test_every_image_has_an_id_of_its_own_by_its_place(client, make_classifier, as_file, tmp_path):
    with ExposureLog(tmp_path / "exposures.jsonl") as log:
        router = Router({"stable": 1}, experiment="e", on_exposure=log)
        for settings, key in (({}, None), ({"router": router}, "user")):
            answers = make_classifier(client, batch_size=2, **settings).predict_many(
                [as_file(), b"<html>", as_file(), as_file(), as_file()],
                on_bad_image="mark",
                key=key,
                request_id="r",
            )
            assert [one.request_id for one in answers] == ["r-0", "", "r-2", "r-3", "r-4"]
    lines = (tmp_path / "exposures.jsonl").read_text().splitlines()
    assert [json.loads(line)["request_id"] for line in lines] == ["r-0", "r-2", "r-3", "r-4"]
