"""Renders each overlay, and the base with every combination of components that fit together."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import yaml

from tests.environments import ROOT
from tests.manifests.tools import ToolError, Tools, run

K8S: Final = ROOT / "k8s"
RENDERED: Final = ROOT / "build" / "manifests"

ORDER: Final = (
    *("admin-guard", "canary", "gpu"),
    *("model-store-pvc", "model-store-s3", "model-store-gcs"),
    *("monitoring", "tls", "tls-gateway", "loadtest", "training", "training-distributed"),
)
"""Every component, in the order in which an overlay lists them."""

OVERLAYS: Final = ("example", "local", "production", "staging")
"""This project's; whoever uses it may put others beside them, which are rendered, too."""

PARTS: Final = ("model-store-bucket",)
"""Listed by other components, never by an overlay."""

STORES: Final = frozenset(name for name in ORDER if name.startswith("model-store-"))
"""Exclude each other."""

NEEDS: Final = {
    "tls-gateway": ("admin-guard", "tls"),
    "training": ("model-store-pvc",),
    "training-distributed": ("training",),
}
"""What a component needs beside it. (tls-gateway may also stand with canary alone.)"""

Document = dict[str, Any]


def overlays() -> list[str]:
    """The names of the overlays."""
    return sorted(path.parent.name for path in K8S.glob("overlays/*/kustomization.yaml"))


def may_stand(chosen: frozenset[str]) -> bool:
    """Whether components fit together: one store at most, and nothing without what it needs."""
    return len(chosen & STORES) <= 1 and all(
        chosen.issuperset(needed) for name, needed in NEEDS.items() if name in chosen
    )


def alone(name: str) -> tuple[str, ...]:
    """A component with only what it needs, in ORDER."""
    chosen, left = set(), [name]
    while left:
        name = left.pop()
        chosen.add(name)
        left += NEEDS.get(name, ())
    return tuple(one for one in ORDER if one in chosen)


def combinations() -> Iterator[tuple[str, ...]]:
    """Every set of components that may stand, in ORDER, the empty one first."""
    for size in range(len(ORDER) + 1):
        for chosen in itertools.combinations(ORDER, size):
            if may_stand(frozenset(chosen)):
                yield chosen


def render(tools: Tools, folder: Path) -> list[Document]:
    """What `kubectl kustomize` makes of a folder.

    Raises:
        ToolError: kustomize refuses it.
    """
    return list(yaml.safe_load_all(run([tools.kubectl, "kustomize", str(folder)])))


def render_combination(tools: Tools, chosen: tuple[str, ...]) -> list[Document]:
    """The base with components, as an overlay would list them."""
    folder = RENDERED / "combinations" / ("+".join(chosen) or "base")
    folder.mkdir(parents=True, exist_ok=True)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(K8S / "base", folder)],
        "components": [os.path.relpath(K8S / "components" / name, folder) for name in chosen],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
    return render(tools, folder)


def render_each(
    tools: Tools, jobs: Sequence[tuple[str, str | None, tuple[str, ...]]]
) -> Iterator[tuple[tuple[str, str | None, tuple[str, ...]], list[Document] | ToolError]]:
    """Renders overlays and combinations, two at a time.

    Args:
        tools: kubectl.
        jobs: a name, and an overlay or a combination.

    Yields:
        each job, and its documents, or why there are none.
    """

    def one(job: tuple[str, str | None, tuple[str, ...]]) -> list[Document] | ToolError:
        _, overlay, chosen = job
        try:
            if overlay is not None:
                return render(tools, K8S / "overlays" / overlay)
            return render_combination(tools, chosen)
        except ToolError as error:
            return error

    with ThreadPoolExecutor(max_workers=2) as pool:
        yield from zip(jobs, pool.map(one, jobs))
