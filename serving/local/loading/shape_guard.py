"""Finds the inputs whose rank nothing checks before an operation that can end the process.

With oneDNN, which is on by default on x86, a convolution or a pooling that is fed another rank than
it expects fails a CHECK: the process aborts, TensorFlow Serving's as well as this one. A graph that
passes an input through EnsureShape first answers with an error instead. The graph is walked once,
at load time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

_ABORTING: Final = frozenset(
    {
        "AvgPool",
        "AvgPool3D",
        "Conv2D",
        "Conv3D",
        "DepthwiseConv2dNative",
        "FusedBatchNorm",
        "FusedBatchNormV2",
        "FusedBatchNormV3",
        "LRN",
        "MaxPool",
        "MaxPool3D",
    }
)
"""Operations that oneDNN rewrites and whose kernels index the shape before they check its rank."""

_TRANSPARENT: Final = frozenset({"Identity", "IdentityN", "Cast", "StopGradient"})
"""Operations that hand a value on with the rank it has."""

_CHECKING: Final = frozenset({"EnsureShape", "NoOp", "Rank", "Shape", "ShapeN", "Size"})
"""Operations after which the rank is known, or that do not hand the value on."""

_CALLS: Final = frozenset({"PartitionedCall", "StatefulPartitionedCall"})


def unguarded_inputs(graph: Any, inputs: Iterable[str]) -> frozenset[str]:
    """Tells which inputs must not be fed another rank than they declare.

    Args:
        graph: the GraphDef of a loaded SavedModel, with its library of functions.
        inputs: tensor names, `node:0`.

    Returns:
        In a graph with an operation that can abort: the inputs that reach any other operation
        without an EnsureShape, whether or not that one is the operation that can abort. In a graph
        without such an operation: none.
    """
    functions = {function.signature.name: function for function in graph.library.function}
    bodies = [graph.node, *(function.node_def for function in functions.values())]
    if not any(node.op in _ABORTING for nodes in bodies for node in nodes):
        return frozenset()
    consumers = _consumers(graph.node)
    return frozenset(
        name
        for name in inputs
        if not _guarded(name.split(":")[0], consumers, functions, frozenset())
    )


def _consumers(nodes: Any) -> dict[str, list[tuple[Any, int]]]:
    found: dict[str, list[tuple[Any, int]]] = defaultdict(list)
    for node in nodes:
        for position, name in enumerate(node.input):
            if not name.startswith("^"):
                found[name.split(":")[0]].append((node, position))
    return found


def _guarded(
    name: str,
    consumers: dict[str, list[tuple[Any, int]]],
    functions: dict[str, Any],
    seen: frozenset[str],
) -> bool:
    """Whether every way out of this node leads into a check of the rank, or nowhere."""
    for node, position in consumers.get(name, []):
        if node.op in _CHECKING:
            continue
        if node.op in _TRANSPARENT:
            if _guarded(node.name, consumers, functions, seen):
                continue
            return False
        if node.op in _CALLS and (called := functions.get(node.attr["f"].func.name)) is not None:
            argument = called.signature.input_arg[position].name
            key = f"{called.signature.name}/{argument}"
            inside = _consumers(called.node_def)
            if key in seen or _guarded(argument, inside, functions, seen | {key}):
                continue
            return False
        return False
    return True
