"""Finds or builds every program of the test cluster -> build/cluster/bin.

Kubernetes and CoreDNS come as source from the Go module proxy, checked against go.sum, and are
built with the Go that is installed: six minutes on two cores the first time, and not again until
a go.mod changes. The rest are Debian packages; one that is not installed is fetched and unpacked
under build/, so that the machine stays as it is.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.cluster.places import BIN, DEBIAN, GO
from tests.environments import UnavailableError

logger = logging.getLogger("tests.cluster")

KUBERNETES: Final = "v1.35.4"
"""The last minor version that runs with containerd 1.x (Debian 12) and on cgroup v1."""

BUILD_DEADLINE_S: Final = 3600

STANDARD_GO: Final = Path("/usr/local/go/bin/go")
"""Where Go's own archive unpacks it; seldom on the PATH."""

SYSTEM_FOLDERS: Final = (
    *("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"),
    *("/usr/lib/cni", "/opt/cni/bin"),
)

_VERSION: Final = "k8s.io/component-base/version"
_MAJOR, _MINOR, _ = KUBERNETES.removeprefix("v").split(".")
_COMMANDS: Final = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")


@dataclass(frozen=True, kw_only=True)
class Module:
    """A Go module under go/, and what is built of it.

    Args:
        folder: under go/.
        packages: a program each, named after the last part.
        linking: flags of the linker.
        environment: of the build.
    """

    folder: str
    packages: tuple[str, ...]
    linking: str = "-s -w"
    environment: Mapping[str, str] = field(default_factory=dict)

    def digest(self, go_version: str) -> str:
        """A digest of everything that the programs are built from."""
        digest = hashlib.sha256(f"{go_version} {self}".encode())
        for path in sorted((GO / self.folder).rglob("*")):
            if path.is_file():
                digest.update(path.read_bytes())
        return digest.hexdigest()


MODULES: Final = (
    Module(
        folder="small",
        packages=("./pause", "./answer"),
        # Static: their images hold nothing else.
        environment={"CGO_ENABLED": "0"},
    ),
    # A module of its own: in one module, CoreDNS and Kubernetes would change each other's versions.
    Module(folder="dns", packages=("./coredns",), environment={"CGO_ENABLED": "0"}),
    Module(
        folder="kubernetes",
        packages=tuple(f"k8s.io/kubernetes/cmd/{name}" for name in _COMMANDS),
        # Unstamped, they would call themselves v0.0.0, and kubectl's version check would be lost.
        linking=f"-s -w -X {_VERSION}.gitVersion={KUBERNETES}"
        f" -X {_VERSION}.gitMajor={_MAJOR} -X {_VERSION}.gitMinor={_MINOR}",
    ),
)

PACKAGES: Final = {
    "etcd-server": ("etcd",),
    "containerd": ("containerd", "containerd-shim-runc-v2", "ctr"),
    "runc": ("runc",),
    # Not its bridge, which lies beside: iproute2 has a program of that name.
    "containernetworking-plugins": ("host-local", "loopback"),
}
"""Debian packages that can be unpacked anywhere, and the programs that are wanted of each."""

INSTALLED: Final = {
    "iproute2": ("ip",),
    "util-linux": ("setpriv", "unshare", "nsenter"),
    "mount": ("mount",),
}
"""Debian packages that have to be installed; they nearly always are."""


@dataclass(frozen=True)
class Binaries:
    """The programs, by name."""

    paths: Mapping[str, Path]

    def __getitem__(self, name: str) -> str:
        return str(self.paths[name])

    @property
    def network_plugins(self) -> Path:
        """The folder of the network plugins."""
        return self.paths["host-local"].parent

    @property
    def search_path(self) -> str:
        """A PATH for those that start others by name, as containerd starts runc."""
        folders = {str(path.parent): None for path in self.paths.values()}
        return os.pathsep.join([*folders, *SYSTEM_FOLDERS])


def make() -> Binaries:
    """Finds or builds all.

    Raises:
        UnavailableError: says what is missing, and what to do.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise UnavailableError(
            "Expected root on Linux, to make a node. Received: "
            f"{sys.platform}, user {os.geteuid()}. Run it as root, on a machine for tests."
        )
    paths = {}
    for package, names in INSTALLED.items():
        for name in names:
            paths[name] = _installed(package, name)
    for package, names in PACKAGES.items():
        for name in names:
            paths[name] = _packaged(package, name)
    command = go()
    for module in MODULES:
        paths.update(_built(command, module))
    return Binaries(paths)


def _installed(package: str, name: str) -> Path:
    found = which(name)
    if found is None:
        raise UnavailableError(
            f"Expected the program {name}. Received: none. Install it: apt-get install {package}"
        )
    return found


def _packaged(package: str, name: str) -> Path:
    unpacked = DEBIAN / package
    found = which(name) or which(name, unpacked)
    if found is None and not unpacked.exists():
        _fetch(package, unpacked)
        found = which(name, unpacked)
    if found is None:
        raise UnavailableError(
            f"Expected the program {name}. Received: none, and none in Debian's {package}. "
            f"Install it: apt-get install {package}"
        )
    return found


def which(name: str, root: Path = Path("/")) -> Path | None:
    """A program, on the PATH or in root's folders, which are often not on it."""
    folders = os.pathsep.join(str(root / folder.lstrip("/")) for folder in SYSTEM_FOLDERS)
    found = shutil.which(name, path=folders)
    return None if found is None else Path(found)


def _fetch(package: str, folder: Path) -> None:
    """Fetches a Debian package and unpacks it."""
    logger.info("fetching Debian's %s", package)
    scratch = folder.with_suffix(".fetched")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    # As root, apt downloads as another user, who may not write here.
    sandbox = "APT::Sandbox::User=root"
    try:
        _run(["apt-get", "-q", "-o", sandbox, "download", package], cwd=scratch)
        (archive,) = scratch.glob("*.deb")
        _run(["dpkg", "-x", archive.name, "unpacked"], cwd=scratch)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise UnavailableError(
            f"Expected Debian's {package}. Received: {_words(error)}. "
            f"Install it: apt-get install {package}"
        ) from error
    # Renamed last, so that a package that was fetched in part is fetched again.
    (scratch / "unpacked").rename(folder)
    shutil.rmtree(scratch)


def go() -> Path:
    """The Go that is installed.

    Raises:
        UnavailableError: none is.
    """
    found = shutil.which("go")
    command = Path(found) if found else STANDARD_GO
    if not command.exists():
        raise UnavailableError(
            f"Expected Go, to build Kubernetes. Received: none on the PATH, nor {STANDARD_GO}. "
            "Install it (go.dev/dl); go.mod says which."
        )
    return command


def _built(command: Path, module: Module) -> dict[str, Path]:
    names = [package.rpartition("/")[2] for package in module.packages]
    paths = {name: BIN / name for name in names}
    made_of = BIN / f"{module.folder}.made-of"
    digest = module.digest(_run([str(command), "version"]).strip())
    stand = all(path.exists() for path in paths.values())
    if stand and made_of.exists() and made_of.read_text() == digest:
        return paths
    BIN.mkdir(parents=True, exist_ok=True)
    made_of.unlink(missing_ok=True)
    started = time.monotonic()
    logger.info("building %s (minutes, the first time; cached by Go)", ", ".join(names))
    _build(command, module, started)
    made_of.write_text(digest)
    logger.info("built %s in %.0f s", ", ".join(names), time.monotonic() - started)
    return paths


def _build(command: Path, module: Module, started: float) -> None:
    flags = ["-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", module.linking]
    build = subprocess.Popen(
        [str(command), "build", *flags, "-o", f"{BIN}/", *module.packages],
        cwd=GO / module.folder,
        # local: only the Go that is installed, never a downloaded one.
        env={**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off", **module.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        while True:
            try:
                said, _ = build.communicate(timeout=60)
                break
            except subprocess.TimeoutExpired as expired:
                minutes = (time.monotonic() - started) / 60
                if minutes * 60 > BUILD_DEADLINE_S:
                    raise UnavailableError(
                        f"Expected go build to end within {BUILD_DEADLINE_S} s. "
                        f"Received: silence. Try it: cd {module.folder} && go build"
                    ) from expired
                logger.info("still building: %.0f min", minutes)
    finally:
        if build.poll() is None:
            build.terminate()
            build.wait()
    if build.returncode != 0:
        words = " ".join(line for line in said.splitlines() if "downloading" not in line)
        raise UnavailableError(
            f"Expected tests/cluster/go/{module.folder} to build. Received: {words[-600:]}. "
            "Check that Go is as new as go.mod says, and the Go module proxy reachable."
        )


def _run(argv: Sequence[str], cwd: Path | None = None) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=300, check=True)
    return done.stdout


def _words(error: Exception) -> str:
    return " ".join(str(getattr(error, "stderr", None) or error).split())[-300:]
