"""Which settings are refused, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundation.command_line import InputError
from loadtest.plan.flags import parse
from loadtest.plan.settings import Settings

BOTH_LOOPS = (
    "Expected --users (closed loop) or --rate and --trace (open loop). Received: both; leave one "
    "out"
)
CLOSED_ALONE = (
    "Expected --users with --api rest, --think-time and --remote-workers: they are of the closed "
    "loop. Received: --rate or --trace"
)
NO_TLS = (
    "Expected no TLS and no token with --api rest: TensorFlow Serving's REST has neither. "
    "Received: one; ask over gRPC, or through a gateway's address"
)
TRACE_ALONE = (
    "Expected --trace without --shape and --duration-s: it says when requests are due itself. "
    "Received: both; leave one out"
)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--users 2 --rate 5", BOTH_LOOPS),
        ("--users 2 --trace t.csv", BOTH_LOOPS),
        (
            "--shape spike",
            "Expected --rate with --shape: it is of the open loop. Received: no --rate",
        ),
        ("--rate 5 --api rest", CLOSED_ALONE),
        ("--rate 5 --think-time 1", CLOSED_ALONE),
        ("--rate 5 --remote-workers 1", CLOSED_ALONE),
        ("--api soap", "Expected --api of grpc, rest. Received: soap"),
        (
            "--think-time soon",
            "Expected --think-time in seconds: 0.5, 0.2-1 (even between them), or exp:0.5 "
            "(exponential with that mean). Received: 'soon'",
        ),
        (
            "--workers 2 --remote-workers 2",
            "Expected --workers or --remote-workers. Received: both",
        ),
        ("--api rest --tls", NO_TLS),
        ("--api rest --token-file t", NO_TLS),
        ("--remote-workers -1", "Expected --remote-workers from 1 to 1000. Received: -1"),
        ("--remote-workers 1001", "Expected --remote-workers from 1 to 1000. Received: 1001"),
        ("--trace t.csv --shape step", TRACE_ALONE),
        ("--trace t.csv --duration-s 9", TRACE_ALONE),
        ("--users 0", "Expected --users above 0. Received: users=0"),
        ("--duration-s nan", "Expected --duration-s above 0. Received: duration_s=nan"),
        ("--timeout-s 0", "Expected --timeout-s above 0. Received: timeout_s=0.0"),
        ("--timeout-s inf", "Expected --timeout-s above 0. Received: timeout_s=inf"),
        ("--workers -1", "Expected --workers above 0. Received: workers=-1"),
        ("--rate 5 --in-flight 0", "Expected --in-flight above 0. Received: in_flight=0"),
        ("--rate 0", "Expected --rate above 0. Received: 0.0"),
        (
            "--rate 5 --shape wave",
            "Expected a shape of steady, smoke, step, spike, soak. Received: wave",
        ),
        (
            "--trace missing.csv",
            "Expected a CSV file of seconds as --trace. Received: missing.csv, not a file",
        ),
        (
            "--label stable=x",
            "Expected --label as NAME or NAME=WEIGHT,NAME=WEIGHT with weights above 0. "
            "Received: 'stable=x'",
        ),
        ("--batch 0", "Expected --batch from 1 to 1024. Received: 0"),
        ("--duration-s 2 --at 2:true", "Expected --at within the load's 2 s. Received: 2"),
        (
            "--metrics nowhere",
            "Expected host:port of a server's REST port, or the http:// address of its metrics "
            "page. Received: 'nowhere'",
        ),
        ("--seed -1", "Expected --seed of 0 or more. Received: -1"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(flags: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(flags.split()).check()
    assert str(caught.value) == words


def test_objectives_that_cannot_be_are_refused_with_the_settings(tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text("{}")
    with pytest.raises(InputError, match="Expected objectives such as"):
        parse(["--objectives", str(tmp_path / "none.json")]).check()


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "--users 5 --think-time exp:0.5 --api rest",
        "--remote-workers 3",
        "--rate 5 --shape step --workers 2 --at 10:true --metrics localhost:8501",
        "--label stable=9,canary=1 --tls --token-file t",
    ],
)
def test_settings_that_can_be_are_let_through(flags: str) -> None:
    settings = parse(flags.split())
    settings.check()
    assert isinstance(settings, Settings)
