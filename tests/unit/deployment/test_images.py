"""The list of images and its commands: nothing is missing, and what is carried is found again."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from serving.container import engine, images
from tests.environments import ROOT

REGISTRY = "registry.example.com/mirror"
FOUND = {one.tagged: one for one in images.find(ROOT)}


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What the command prints, run in the project's root."""
    assert images.main(argv) == 0
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_servers_images_are_listed_with_who_names_them() -> None:
    for image in (engine.IMAGE, engine.GPU_IMAGE):
        places = FOUND[f"docker.io/{image}"].places
        assert "serving/container/Dockerfile" in places
        assert any(place.startswith("k8s/") for place in places)


def test_every_image_that_any_file_names_is_listed() -> None:
    """By another way than the command's own: whatever looks like an image in these files."""
    for path in [*(ROOT / "k8s").rglob("*.yaml"), *(ROOT / "serving" / "container").glob("*")]:
        if path.is_file() and "example" not in path.parts:
            text = re.sub(r"#.*", "", path.read_text(encoding="utf-8"))
            named = re.findall(r"(?:image: |FROM |value: )(\S+/\S+|\S+):([\w.-]+)\b(?!})", text)
            for name, tag in named:
                if "$" not in name + tag and not name.startswith(("store", "http")):
                    assert any(one.endswith(f"{name}:{tag}") for one in FOUND), (path, name, tag)


def test_a_digest_in_k8s_is_in_the_list_and_no_other() -> None:
    written = {
        digest
        for path in (ROOT / "k8s").rglob("*.yaml")
        for digest in re.findall(r"digest: (sha256:\w{64})", path.read_text(encoding="utf-8"))
    }
    assert written
    assert {one.digest for one in FOUND.values() if one.digest} == written


def test_the_list_says_where_a_digest_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys).splitlines()
    (server,) = (line for line in lines if line.startswith(f"docker.io/{engine.IMAGE} "))
    assert " not kept here " in server
    (tools,) = (line for line in lines if line.startswith("image-classifier-tools:dev "))
    assert " built here " in tools
    listed = json.loads(said(capsys, "--json"))
    assert [one["image"] for one in listed] == sorted(FOUND)


@pytest.mark.parametrize("tool", images.TOOLS)
def test_every_image_that_is_not_built_here_is_copied_and_by_its_digest(
    capsys: pytest.CaptureFixture[str], tool: str
) -> None:
    text = said(capsys, "--registry", REGISTRY, "--tool", tool)
    copies = [shlex.split(line) for line in text.splitlines() if line.startswith(f"{tool} ")]
    copied = {words[-2].removeprefix("docker://"): words[-1] for words in copies}
    wanted = {one.source: one for one in FOUND.values() if not one.built_here}
    assert copied.keys() == wanted.keys()
    for source, target in copied.items():
        image = wanted[source]
        path = image.name.partition("/")[2]
        assert target.removeprefix("docker://") == f"{REGISTRY}/{path}:{image.tag}"
        assert not image.digest or source.endswith(f"@{image.digest}")


@pytest.mark.parametrize("tool", images.TOOLS)
def test_by_way_of_a_disk_everything_that_goes_out_comes_in(
    capsys: pytest.CaptureFixture[str], tool: str
) -> None:
    text = said(capsys, "--registry", REGISTRY, "--via", "/media/disk", "--tool", tool)
    outside, inside = text.split("# Inside:")
    kept = set(re.findall(r"/media/disk/\S+", outside))
    assert len(kept) == len(FOUND)
    assert kept <= set(re.findall(r"/media/disk/\S+", inside))
    pushed = re.findall(rf"{REGISTRY}/\S+:\S+", inside)
    assert {one.rpartition(":")[0] for one in pushed} == {
        one.mirrored(REGISTRY) for one in FOUND.values()
    }


def test_the_overlays_part_names_every_image_of_the_cluster_as_kustomize_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = said(capsys, "--registry", REGISTRY)
    entries = yaml.safe_load(text[text.index("\nimages:\n") : text.index("# Python")])["images"]
    renamed = {one["name"]: one["newName"] for one in entries}
    assert all(new.startswith(f"{REGISTRY}/") for new in renamed.values())
    example = yaml.safe_load((ROOT / "k8s/overlays/example/kustomization.yaml").read_text())
    listed = {one["name"]: one["newName"] for one in example["images"]}
    assert listed.items() <= renamed.items()
    # Tags and digests stay those of the bundle.
    assert all(one.keys() == {"name", "newName"} for one in entries)


def test_the_wheels_are_those_that_set_up_installs(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--registry", REGISTRY, "--via", "/media/disk")
    assert (
        "pip download --no-deps --require-hashes -r requirements.lock --dest /media/disk/wheels"
        in text
    )
    assert all((ROOT / lock).exists() for lock in images.LOCKS)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"(default: {images.LOCKS[0]})" in makefile


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--registry", "https://registry.example.com"), "Leave out https://"),
        (("--via", "/media/disk"), "Expected --registry beside --via"),
        (("--registry", ""), "Expected a registry"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], words: str
) -> None:
    assert images.main(argv) == 2
    assert words in capsys.readouterr().err


def test_two_digests_of_one_image_are_refused(tmp_path: Path) -> None:
    for at, name in enumerate(("one", "two")):
        folder = tmp_path / "k8s" / name
        folder.mkdir(parents=True)
        entry = {"name": "busybox", "newTag": "1", "digest": f"sha256:{at:064}"}
        content = {"kind": "Component", "images": [entry]}
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "serving" / "container").mkdir(parents=True)
    (tmp_path / "serving" / "container" / "compose.yaml").write_text("services: {}")
    with pytest.raises(images.InputError, match="Expected one digest for docker"):
        images.find(tmp_path)
