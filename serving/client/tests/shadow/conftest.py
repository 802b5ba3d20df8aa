"""Shadows that mirror every call, and a canary that can be held."""

from __future__ import annotations

import pytest

from tfs_client import Shadow

from .asking import CANARY, Held


@pytest.fixture
def held(server):
    held = Held(server)
    yield held
    held.let_go.set()


@pytest.fixture
def told():
    """The comparisons of the shadows that `make` makes."""
    return []


@pytest.fixture
def make(told):
    """A function that makes a shadow which mirrors everything to echo's canary."""

    def make(servable=CANARY, **settings):
        return Shadow(servable, **{"share": 1, "on_comparison": told.append, **settings})

    return make


@pytest.fixture
def shadow(make):
    return make()
