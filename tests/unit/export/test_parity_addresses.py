"""Which REST address belongs to a gRPC address: one of the same server, or none."""

from __future__ import annotations

import pytest

from export import parity
from foundation.command_line import InputError


@pytest.mark.parametrize(
    ("target", "rest"),
    [
        ("localhost:8500", "localhost:8501"),
        ("models.example:8500", "models.example:8501"),
        ("dns:///models.example:8500", "models.example:8501"),
        ("[::1]:8500", "[::1]:8501"),
    ],
)
def test_the_usual_port_stands_beside_the_usual_port(target: str, rest: str) -> None:
    assert parity.rest_beside(target) == rest


@pytest.mark.parametrize(
    "target",
    ["localhost:9500", "localhost", "unix:/tmp/socket", "ipv4:10.0.0.1:8500,10.0.0.2:8500", ""],
)
def test_another_servers_rest_port_is_never_guessed(target: str) -> None:
    with pytest.raises(InputError, match=r"^Expected the REST address .* Add --rest host:port\.$"):
        parity.rest_beside(target)


def test_the_command_refuses_before_it_asks_anyone(capsys: pytest.CaptureFixture[str]) -> None:
    assert parity.main(["--target", "localhost:9"]) == 2

    assert "Add --rest host:port." in capsys.readouterr().err
