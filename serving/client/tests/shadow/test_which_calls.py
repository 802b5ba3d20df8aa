"""Which calls are mirrored, and which arguments are refused."""

from __future__ import annotations

import pytest

from tfs_client import RequestError, Router, Servable, ServerError, Shadow

from .asking import CANARY, ask, asked, breaks, for_label


def test_a_share_is_chosen_by_the_request_id_and_always_the_same(client, make, told):
    ids = [f"order-{n}" for n in range(200)]
    chosen = []
    for share in (0.1, 0.1, 0.4):
        shadow = make(share=share, max_in_flight=1000)
        for one in ids:
            ask(client, shadow, request_id=one)
        assert shadow.drain() == 0
        chosen.append({line.request_id for line in told})
        told.clear()
    assert chosen[0] == chosen[1]
    assert 5 <= len(chosen[0]) <= 40
    assert chosen[0] < chosen[2]  # a larger share contains the smaller one
    assert 50 <= len(chosen[2]) <= 110


@pytest.mark.parametrize("request_id", ["", "an id"])
def test_a_share_of_0_mirrors_nothing_and_of_1_everything(server, client, make, told, request_id):
    for share, mirrored in ((0, 0), (1.0, 30)):
        shadow = make(share=share, max_in_flight=100)
        for _ in range(30):
            ask(client, shadow, request_id=request_id)
        shadow.drain()
        assert len(told) == mirrored


def test_without_a_request_id_a_share_is_drawn(client, make):
    shadow = make(share=0.5, max_in_flight=1000)
    for _ in range(200):
        ask(client, shadow)
    shadow.drain()
    assert 60 <= shadow.counts["compared"] <= 140


def test_a_call_that_failed_or_got_the_default_is_not_mirrored(
    server, client, make, shadow, make_classifier, as_file
):
    for_label(server, "stable", breaks())
    with pytest.raises(ServerError):
        ask(client, shadow)
    assert ask(client, shadow, default={"x": [0.0]}).answered_by == "default"
    images = make(None)
    answer = make_classifier(client, shadow=images, default=True).predict(as_file())
    assert answer.answered_by == "default"
    assert (shadow.drain(), images.drain()) == (0, 0)
    assert (shadow.counts, images.counts) == ({}, {})
    assert asked(server, "canary") == []


def test_a_fallbacks_answer_is_compared(server, client, shadow, told):
    for_label(server, "stable", breaks())
    answer = ask(client, shadow, fallback=[Servable(model="echo", version=1)])
    assert answer.answered_by == "echo/versions/1"
    shadow.drain()
    assert [(line.primary_version, line.shadow_version) for line in told] == [(1, 2)]


def test_a_router_and_a_shadow_go_together(client, make_classifier, make, as_file, told):
    shadow = make(None)
    router = Router({"stable": 1}, experiment="e")
    answers = make_classifier(client, router=router, shadow=shadow).predict_many(
        [as_file()] * 2, key="ada"
    )
    answer = ask(client, shadow, label=None, router=router, key="ada")
    shadow.drain()
    ids = [one.request_id for one in (*answers, answer)]
    assert sorted(line.request_id for line in told) == sorted(ids)


@pytest.mark.parametrize(
    ("primary", "servable"),
    [
        ({"label": "canary"}, CANARY),
        ({"label": "canary"}, Servable(model="echo", version=2)),
        ({"version": 2, "label": None}, Servable(model="echo", version=2)),
    ],
    ids=["the same label", "the label's version", "the same version"],
)
def test_what_the_shadows_version_answered_is_not_sent_to_it_again(
    server, client, make, told, primary, servable
):
    shadow = make(servable)
    ask(client, shadow, **primary)
    assert shadow.drain() == 0
    assert (shadow.counts, told) == ({"same_version": 1}, [])
    assert len(server.asked("Predict")) == 1


def test_while_both_labels_stand_on_one_version_one_call_a_second_finds_out(
    server, client, shadow, told, monkeypatch
):
    server.labels["canary"] = 1
    for _ in range(3):
        ask(client, shadow)
        shadow.drain()
    assert (shadow.counts, told) == ({"same_version": 3}, [])
    assert len(asked(server, "canary")) == 1
    server.labels["canary"] = 2
    ask(client, shadow)
    assert shadow.counts == {"same_version": 4}  # remembered for a second
    shadow._same = {key: (version, 0.0) for key, (version, _) in shadow._same.items()}
    ask(client, shadow)
    shadow.drain()
    assert [line.shadow_version for line in told] == [2]


@pytest.mark.parametrize(
    "settings",
    [
        {"servable": "canary"},
        {"share": 1.1},
        {"share": -0.1},
        {"share": float("nan")},
        {"share": "half"},
        {"share": True},
        {"max_in_flight": 0},
        {"max_in_flight": 2.5},
        {"timeout_s": 0},
        {"tolerance": -1},
        {"on_comparison": "shadow.jsonl"},
    ],
    ids=str,
)
def test_a_shadow_that_cannot_be_is_refused(settings):
    with pytest.raises(RequestError, match=r"Expected .* Received: "):
        Shadow(**settings)


def test_what_is_no_shadow_is_refused_before_anything_is_sent(server, client, make_classifier):
    for wrong in (3, CANARY):
        with pytest.raises(RequestError, match="Expected shadow as a Shadow"):
            ask(client, wrong)
        with pytest.raises(RequestError, match="Expected shadow as a Shadow"):
            make_classifier(client, shadow=wrong)
    assert server.requests == ()
