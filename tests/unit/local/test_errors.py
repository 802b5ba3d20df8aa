"""The one kind of error that the local server raises."""

from __future__ import annotations

from serving.local.errors import invalid_argument


def test_long_texts_are_cut_for_grpc() -> None:
    assert invalid_argument("x" * 1024).grpc_text == "x" * 1024
    assert invalid_argument("x" * 1025).grpc_text == "x" * 1024 + "...TRUNCATED"
