"""Whether a version may be put on trial: reads the verdict that the gate left in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foundation.command_line import InputError
from foundation.digests import version_digest
from tfs_client.contract import GATE_VERDICT

PASSED = "passed"


def objection(folder: Path, version: int, stable: int) -> str:
    """Why the gate does not let a version through; empty where it does.

    Args:
        folder: models/<name>/, as this machine sees it.
        version: to be put on trial.
        stable: the version that the gate must have compared it with.

    Raises:
        InputError: the store is on this machine, and has no such version.
    """
    own = folder / str(version)
    if folder.is_dir() and not own.is_dir():
        there = sorted(int(one.name) for one in folder.iterdir() if one.name.isdigit())
        raise InputError(
            f"Expected version {version} under {folder}/. Received: "
            f"{', '.join(map(str, there)) or 'no versions'}. Export one first: make train export"
        )
    try:
        verdict = json.loads((own / GATE_VERDICT).read_text(encoding="utf-8"))
        passed, against, digest = verdict["passed"], verdict["against"], verdict["version_sha256"]
    except FileNotFoundError:
        return f"the gate was not asked about version {version} in {folder}"
    except (ValueError, KeyError, TypeError) as error:
        return f"its verdict in {own / GATE_VERDICT} cannot be read ({error!r})"
    if passed is not True:
        why = _why_refused(verdict.get("checks", []))
        return f"the gate refused version {version}: {why}. See {own / GATE_VERDICT}"
    if against != stable:
        return f"the gate held version {version} against {against}, and {stable} is stable"
    if digest != version_digest(own):
        return f"version {version} has changed since the gate saw it"
    return ""


def _why_refused(checks: Sequence[Mapping[str, Any]]) -> str:
    """What failed, and what is unknown, with what would cure that."""
    failed = [one["name"] for one in checks if one.get("holds") is False]
    unknown = [one for one in checks if one.get("state") == "unknown"]
    found = [", ".join(failed) or "nothing fails"] if failed or unknown else []
    for one in unknown:
        cures = "; or ".join(one.get("cures", []))
        found.append(f"unknown: {one['name']}" + (f" ({cures})" if cures else ""))
    return "; ".join(found)
