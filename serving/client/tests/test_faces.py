"""The asyncio faces are held to the threads' ones, which alone document their parameters."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from tfs_client import AsyncClient, AsyncImageClassifier, Client, ImageClassifier

FACES = [(Client, AsyncClient), (ImageClassifier, AsyncImageClassifier)]

ASYNC_ONLY = {"is_open"}
"""What only forks with an asyncio channel need to know."""


def methods(face: type) -> dict[str, Any]:
    """The public methods that the class itself defines."""
    found = {name: value for name, value in vars(face).items() if not name.startswith("_")}
    return {name: value for name, value in found.items() if name not in ASYNC_ONLY}


CASES = [
    pytest.param(threads, asynchronous, name, id=f"{threads.__name__}.{name}")
    for threads, asynchronous in FACES
    for name in methods(threads)
]


@pytest.mark.parametrize(("threads", "asynchronous"), FACES, ids=str)
def test_both_faces_have_the_same_methods_and_settings(threads, asynchronous):
    assert set(methods(threads)) == set(methods(asynchronous))
    assert threads.__init__ is asynchronous.__init__


@pytest.mark.parametrize(("threads", "asynchronous", "name"), CASES)
def test_a_method_takes_the_same_parameters_and_gives_the_same(threads, asynchronous, name):
    ours = inspect.signature(getattr(threads, name))
    its = inspect.signature(getattr(asynchronous, name))
    parameters = dict(its.parameters)
    if name == "stream":  # the one difference: sources may come from an asynchronous iterator too
        both = "Iterable[ImageSource] | AsyncIterable[ImageSource] | Pixels"
        assert parameters["sources"].annotation == both
        sources = ours.parameters["sources"].annotation
        parameters["sources"] = parameters["sources"].replace(annotation=sources)
        assert its.return_annotation == f"Async{ours.return_annotation}"
    else:
        assert its.return_annotation == ours.return_annotation
    # Names in their order, kinds, defaults and annotations.
    assert list(parameters.values()) == list(ours.parameters.values())


@pytest.mark.parametrize(("threads", "asynchronous", "name"), CASES)
def test_parameters_are_documented_at_the_threads_face_alone(threads, asynchronous, name):
    ours, its = inspect.getdoc(getattr(threads, name)), inspect.getdoc(getattr(asynchronous, name))
    assert ours
    assert "Args:" not in its
    assert its.startswith(f"As {threads.__name__}.{name}")
