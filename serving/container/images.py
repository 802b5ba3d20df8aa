"""Every image that this project runs or is built from, and how to carry it to an air-gapped site.

    python -m serving.container.images
        the list: image, digest, who names it

    python -m serving.container.images --registry registry.example.com/mirror
        commands that copy them there, what an overlay then says, and how the wheels come along

    … --via /media/disk         by way of a disk: what to run outside, what to run inside
    … --tool crane              in place of skopeo
    … --json                    the list as JSON

Reads k8s/, the Dockerfiles and the compose file, which are the owners; asks no registry and copies
nothing itself. Takes a second.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from foundation.command_line import InputError, Parser, run, say

TOOLS: Final = ("skopeo", "crane")

LOCKS: Final = ("requirements.lock", "requirements-gpu.lock")
"""What `make setup` installs; the images' own locks are used where images are built."""

_BUILT: Final = {
    "image-classifier-tools": "python.Dockerfile",
    "image-classifier-training": "python.Dockerfile --build-arg PACKAGES=training",
    "image-classifier-serving": "Dockerfile --target server",
}
"""Images of this project's own: how each is built, from serving/container/."""

_REGISTRY: Final = re.compile(r"[\w.-]+(:\d+)?(/[a-z0-9._-]+)*")

_HUB: Final = "docker.io"


@dataclass
class Image:
    """One image.

    Attributes:
        name: with its registry, without a tag: docker.io/library/busybox.
        tag: as it is named here.
        digest: sha256:…, or nothing where only the tag is kept here.
        named_as: names by which kustomizations and files here call it.
        places: files that name it, below the project's root.
    """

    name: str
    tag: str
    digest: str = ""
    named_as: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)

    @property
    def built_here(self) -> bool:
        """Whether it comes from this project's Dockerfiles, and from no registry."""
        return self.name in _BUILT

    @property
    def tagged(self) -> str:
        """name:tag."""
        return f"{self.name}:{self.tag}"

    @property
    def source(self) -> str:
        """What is pulled: by digest where it is known."""
        return f"{self.name}@{self.digest}" if self.digest else self.tagged

    def mirrored(self, registry: str) -> str:
        """Its name in a mirror, without a tag: the first part, its registry, is replaced."""
        return f"{registry}/{self.name if self.built_here else self.name.partition('/')[2]}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = Parser(
        prog="python -m serving.container.images",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--registry", help="the registry to copy to, with a path in it if need be")
    parser.add_argument("--via", type=Path, metavar="FOLDER", help="copy by way of this folder")
    parser.add_argument("--tool", choices=TOOLS, default=TOOLS[0], help="what copies")
    parser.add_argument("--json", action="store_true", help="the list as JSON")
    args = parser.parse_args(argv)
    return run("images", lambda: _command(args.registry, args.via, args.tool, args.json))


def _command(registry: str | None, via: Path | None, tool: str, as_json: bool) -> int:
    images = find(Path())
    if registry is None and via is not None:
        raise InputError(
            f"Expected --registry beside --via. Received: --via {via}. Name the registry inside, "
            "such as --registry registry.example.com/mirror."
        )
    if registry is not None and not _REGISTRY.fullmatch(registry):
        raise InputError(
            f"Expected a registry, such as registry.example.com/mirror. Received: {registry}. "
            "Leave out https:// and what follows the path."
        )
    if as_json:
        said = json.dumps(
            [
                {"image": one.tagged, "digest": one.digest or None, "built_here": one.built_here}
                | {"named_by": sorted(one.places)}
                for one in images
            ],
            indent=2,
        )
    elif registry is None:
        said = table(images)
    else:
        said = "\n\n".join([*_copying(images, registry, via, tool), _wheels(via)])
    say(said)
    return 0


def find(root: Path) -> list[Image]:
    """All images, in the order of their names.

    Args:
        root: the project's root.

    Raises:
        InputError: an image is named with two digests.
    """
    found: dict[str, Image] = {}
    for place, written, tag, digest in _mentions(root):
        name = _with_registry(written)
        image = found.setdefault(f"{name}:{tag}", Image(name, tag))
        if image.digest and digest and image.digest != digest:
            raise InputError(
                f"Expected one digest for {image.tagged}. Received: {image.digest} and {digest} "
                f"(in {place}). Make them one."
            )
        image.digest = image.digest or digest
        image.named_as.add(written)
        image.places.add(place)
    return [found[key] for key in sorted(found)]


def _mentions(root: Path) -> Iterator[tuple[str, str, str, str]]:
    """Where, name as written, tag and digest of each image that a file names."""
    for path in sorted((root / "k8s").rglob("*.yaml")):
        place = str(path.relative_to(root))
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            for written, tag, digest in _in_manifest(document):
                yield place, written, tag, digest
    folder = root / "serving" / "container"
    compose = yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))
    for service in compose["services"].values():
        yield "serving/container/compose.yaml", *_taken_apart(service["image"])
    for path in sorted(folder.glob("*Dockerfile")):
        text = path.read_text(encoding="utf-8")
        stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE))
        variants = {"", *re.findall(r"^ARG VARIANT=(\S*)", text, re.MULTILINE)}
        for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
            for variant in variants if "${VARIANT}" in base else {""}:
                if base not in stages:
                    taken = _taken_apart(base.replace("${VARIANT}", variant))
                    yield str(path.relative_to(root)), *taken


def _in_manifest(node: Any) -> Iterator[tuple[str, str, str]]:
    """Images with a tag, in kustomizations, in patches and in pods."""
    if isinstance(node, list):
        for child in node:
            yield from _in_manifest(child)
    if not isinstance(node, dict):
        return
    if node.get("kind") in ("Component", "Kustomization"):
        for entry in node.get("images", []):
            if "newTag" in entry:
                name = entry.get("newName", entry["name"])
                yield name, str(entry["newTag"]), entry.get("digest", "")
        for patch in node.get("patches", []):
            if "patch" in patch:
                yield from _in_manifest(yaml.safe_load(patch["patch"]))
        return
    if node.get("op") and str(node.get("path", "")).endswith("/image"):
        yield _taken_apart(node["value"])
    for key, child in node.items():
        if key == "image" and isinstance(child, str):
            # Without a tag it is a name that a kustomization gives one.
            if ":" in child.rpartition("/")[2]:
                yield _taken_apart(child)
        else:
            yield from _in_manifest(child)


def _taken_apart(image: str) -> tuple[str, str, str]:
    name, _, digest = image.partition("@")
    head, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return f"{head}{slash}{last}", tag or "latest", digest


def _with_registry(name: str) -> str:
    """The whole name, as a registry's client completes it."""
    if name in _BUILT:
        return name
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"{_HUB}/{name}" if slash else f"{_HUB}/library/{name}"


def table(images: Sequence[Image]) -> str:
    """The list, for people."""
    rows = [("image", "digest", "named by")]
    for image in images:
        digest = "built here" if image.built_here else image.digest or "not kept here"
        rows.append((image.tagged, digest, ", ".join(sorted(image.places))))
    widths = [max(len(row[at]) for row in rows) for at in (0, 1)]
    lines = [f"{name:<{widths[0]}}  {digest:<{widths[1]}}  {by}" for name, digest, by in rows]
    return "\n".join(
        [
            *lines,
            "",
            "Not kept here: an image that is named by its tag alone. To see its digest:",
            "  skopeo inspect --format '{{.Digest}}' docker://IMAGE",
            'To copy them: make images ARGS="--registry registry.example.com/mirror"',
        ]
    )


def _copying(images: Sequence[Image], registry: str, via: Path | None, tool: str) -> Iterator[str]:
    """Commands, a paragraph for each step, and the overlay's part."""
    copied = [one for one in images if not one.built_here]
    built = [one for one in images if one.built_here]
    if via is None:
        yield "\n".join(
            [
                "# Where both registries can be reached:",
                *(_direct(tool, one, registry) for one in copied),
            ]
        )
        builds = ["# This project's own images:", *_builds(built, registry)]
        yield "\n".join(builds)
    else:
        outside, inside = [], []
        for one in copied:
            kept = via / f"{one.name.replace('/', '_')}_{one.tag}"
            outside.append(_out(tool, one, kept))
            inside.append(_in(tool, one, kept, registry))
        for one in built:
            kept = via / f"{one.name}_{one.tag}.tar"
            outside += [_build(one, one.tagged), f"docker save --output {kept} {one.tagged}"]
            inside.append(f"docker load --input {kept}")
            inside.append(f"docker tag {one.tagged} {one.mirrored(registry)}:{one.tag}")
            inside.append(f"docker push {one.mirrored(registry)}:{one.tag}")
        yield "\n".join(["# Outside, where there is internet:", f"mkdir -p {via}", *outside])
        yield "\n".join(["# Inside:", *inside])
    yield _overlay(images, registry)


def _direct(tool: str, image: Image, registry: str) -> str:
    target = f"{image.mirrored(registry)}:{image.tag}"
    if tool == "crane":
        return f"crane copy {image.source} {target}"
    # All architectures, byte for byte: a digest that changed would not be found any more.
    return f"skopeo copy --all --preserve-digests docker://{image.source} docker://{target}"


def _out(tool: str, image: Image, kept: Path) -> str:
    if tool == "crane":
        return f"crane pull --format=oci {image.source} {kept}"
    return f"skopeo copy --all --preserve-digests docker://{image.source} dir:{kept}"


def _in(tool: str, image: Image, kept: Path, registry: str) -> str:
    target = f"{image.mirrored(registry)}:{image.tag}"
    if tool == "crane":
        return f"crane push {kept} {target}"
    return f"skopeo copy --all --preserve-digests dir:{kept} docker://{target}"


def _builds(images: Sequence[Image], registry: str) -> Iterator[str]:
    for image in images:
        target = f"{image.mirrored(registry)}:{image.tag}"
        yield _build(image, target)
        yield f"docker push {target}"


def _build(image: Image, target: str) -> str:
    file, *arguments = _BUILT[image.name].split()
    if image.name == "image-classifier-serving" and image.tag == "cpu":
        arguments += ["--build-arg", "VARIANT="]
    return " ".join(
        ["docker build", f"-f serving/container/{file}", *arguments, f"-t {target}", "."]
    )


def _overlay(images: Sequence[Image], registry: str) -> str:
    """What an overlay says, so that the mirror is asked; tags and digests stay the bundle's."""
    lines = ["# In your overlay's kustomization.yaml:", "images:"]
    in_cluster = [one for one in images if any(place.startswith("k8s/") for place in one.places)]
    names = {name: one for one in in_cluster for name in sorted(one.named_as)}
    for name, image in sorted(names.items()):
        lines += [f"  - name: {name}", f"    newName: {image.mirrored(registry)}"]
    return "\n".join(lines)


def _wheels(via: Path | None) -> str:
    folder = (via or Path()) / "wheels"
    offline = f"PIP_NO_INDEX=1 PIP_FIND_LINKS={folder} UV_NO_INDEX=1 UV_FIND_LINKS={folder}"
    return "\n".join(
        [
            "# Python packages, outside, on a machine of the same system and the same Python:",
            f"python3 -m pip download --no-deps --require-hashes -r {LOCKS[0]} --dest {folder}",
            f"# (with NVIDIA's libraries: -r {LOCKS[1]}), and inside, in this project's folder:",
            f"{offline} make setup",
            "# The client for other services, a wheel that needs no network to build:",
            "make build-client",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
