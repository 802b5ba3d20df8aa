"""Commands in the middle of a load, and what they cost."""

from __future__ import annotations

import sys
import time

import pytest

from foundation.command_line import InputError
from loadtest.change import commands
from loadtest.change.commands import At, Commands, Event, parse_at
from loadtest.change.cost import costs
from loadtest.results.samples import Sample

BEGIN_S = 1_000.0


def test_a_moment_and_a_command_are_read_with_quotes_as_in_a_shell():
    found = parse_at("""2.5:sh -c 'echo one && echo "t w o"'""")
    assert found == At(second=2.5, command=("sh", "-c", 'echo one && echo "t w o"'))


@pytest.mark.parametrize(
    "text", ["", "sleep 1", "x:sleep 1", "-1:sleep 1", "inf:true", "3:", "3:   ", "3:sh -c 'open"]
)
def test_what_is_no_moment_with_a_command_is_refused_with_an_example(text):
    with pytest.raises(InputError, match=r"such as .10:python -m serving\.rollout promote"):
        parse_at(text)


def test_a_command_that_this_machine_does_not_have_is_refused_before_the_load():
    with pytest.raises(InputError, match="Received: 'no-such-command'"):
        parse_at("1:no-such-command --now")


def ran(*planned: At, seconds: float = 3.0, patience_s: float = 10.0):
    commands, begin = Commands(planned), time.monotonic()
    while (passed := time.monotonic() - begin) < seconds:
        commands.due(passed)
        time.sleep(0.02)
    return commands.end(patience_s)


def test_commands_start_when_they_are_due_and_leave_code_and_last_words():
    script = "import time; print('begun'); time.sleep(0.3); print('done'); raise SystemExit(3)"
    begin_s = time.time()
    events, never = ran(
        At(second=0.6, command=("sh", "-c", "echo later")),
        At(second=0.1, command=(sys.executable, "-c", script)),
        At(second=99.0, command=("true",)),
    )
    assert [event.second for event in events] == [0.1, 0.6]
    assert [event.code for event in events] == [3, 0]
    assert [event.words for event in events] == ["done", "later"]
    assert [event.failed for event in events] == [True, False]
    assert [one.second for one in never] == [99.0]
    for event in events:
        assert event.second <= event.started_s - begin_s < event.second + 1.0
    assert events[0].ended_s - events[0].started_s >= 0.3


def test_python_is_the_python_that_runs_the_load():
    events, _ = ran(At(second=0, command=("python", "-c", "import sys; print(sys.prefix)")))
    assert events[0].words == sys.prefix


@pytest.mark.slow
def test_what_still_runs_at_the_end_is_ended_and_is_no_failure(monkeypatch):
    monkeypatch.setattr(commands, "END_S", 1.0)
    script = "trap '' TERM; sleep 60 & wait"  # its child dies of the signal, and then it is done
    begin = time.monotonic()
    events, _ = ran(
        At(second=0, command=("sh", "-c", "sleep 60")),
        At(second=0, command=("sh", "-c", script)),
        seconds=0.5,
        patience_s=0.2,
    )
    assert time.monotonic() - begin < 20
    assert [event.stopped for event in events] == [True, True]
    assert not any(event.failed for event in events)


def sample(at_s: float, latency_ms: float = 10.0, code: str = "OK", version: int | None = 1):
    return Sample(
        start_s=BEGIN_S + at_s,
        latency_ms=latency_ms,
        name="serving_default",
        code=code,
        version=version if code == "OK" else None,
        details="",
        label="stable",
    )


def event(at_s: float, took_s: float = 0.5, code: int = 0) -> Event:
    return Event(
        second=at_s,
        started_s=BEGIN_S + at_s,
        ended_s=BEGIN_S + at_s + took_s,
        command="anything",
        code=code,
        words="",
    )


def every_tenth(since_s: float, until_s: float, **kwargs):
    return [sample(at / 10, **kwargs) for at in range(round(10 * since_s), round(10 * until_s))]


def test_a_switch_of_versions_is_seen_with_its_moment():
    taken = [*every_tenth(0, 5.3), *every_tenth(5.3, 10, version=2), *every_tenth(10, 15)]
    to, back = costs([event(5.0), event(9.9)], taken, BEGIN_S)
    ((label, old, new, first_s, last_s),) = to.switches
    assert (label, old, new) == ("stable", 1, 2)
    assert first_s == pytest.approx(0.31)
    assert last_s == pytest.approx(0.21)
    assert back.switches[0][1:3] == (2, 1)
    assert back.switches[0][3] == pytest.approx(0.11)
    assert (to.failures, to.last_failure_s, to.requests) == (0, None, 49)
    assert "stable: version 2 answered after 0.31 s, 1 until 0.21 s" in to.describe()


def test_an_outage_is_failures_until_the_last_one_and_silence_over_several_changes():
    taken = [
        *every_tenth(0, 4),
        *every_tenth(4, 7, code="UNAVAILABLE", latency_ms=1.0),
        *every_tenth(7, 10, latency_ms=30.0),
    ]
    killed, restarted = costs([event(4.0), event(6.0)], taken, BEGIN_S)
    assert (killed.requests, killed.failures) == (20, 20)
    assert killed.codes == (("UNAVAILABLE", 20),)
    assert killed.last_failure_s == pytest.approx(1.901)
    assert restarted.failures == 10
    assert restarted.last_failure_s == pytest.approx(0.901)
    assert restarted.silence_s == pytest.approx(7.03 - 3.91)
    assert killed.before_p99_ms == pytest.approx(10, rel=0.001)
    assert killed.after_p99_ms is None
    assert restarted.before_p99_ms is None
    assert restarted.after_p99_ms == restarted.worst_ms == pytest.approx(30, rel=0.001)


def test_a_server_that_never_comes_back_is_silent_until_the_end():
    taken = [*every_tenth(0, 4), *every_tenth(4, 9, code="UNAVAILABLE", latency_ms=0.0)]
    (cost,) = costs([event(4.0)], taken, BEGIN_S)
    assert cost.silence_s == pytest.approx(8.9 - 3.91)


def test_a_change_after_the_last_request_costs_nothing():
    (cost,) = costs([event(4.0, code=1)], every_tenth(0, 3), BEGIN_S)
    assert (cost.requests, cost.failures, cost.silence_s) == (0, 0, None)
    assert cost.event.failed
