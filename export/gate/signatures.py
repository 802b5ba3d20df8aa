"""Compares the signatures of two versions, as plain data: what would break a caller?"""

from __future__ import annotations

from typing import Any

from tfs_client import contract


def lacking(signatures: dict[str, Any]) -> list[str]:
    """What of the contract is missing, so that the gate cannot ask; in words.

    Args:
        signatures: as export.gate.evidence.describe() gives them.
    """
    wanted = {
        contract.SIGNATURE_DEFAULT: {contract.INPUT_IMAGE_BYTES: ("string", 1)},
        contract.SIGNATURE_IMAGES: {contract.INPUT_IMAGES: ("uint8", 4)},
    }
    problems = []
    for name, inputs in wanted.items():
        if name not in signatures:
            problems.append(f"no signature {name}")
            continue
        found = {
            alias: (tensor["dtype"], tensor["shape"] and len(tensor["shape"]))
            for alias, tensor in signatures[name]["inputs"].items()
        }
        if found != inputs:
            problems.append(f"{name} takes {found}, not {inputs}")
        elif name == contract.SIGNATURE_IMAGES and None in image_size(signatures):
            problems.append(f"{name} does not say the size of its images")
        outputs = signatures[name]["outputs"]
        scores = outputs.get(contract.OUTPUT_SCORES, {"shape": None})["shape"]
        if scores is not None and (len(scores) != 2 or scores[1] is None):
            problems.append(f"{name} does not say how many {contract.OUTPUT_SCORES} it answers")
        missing = set(contract.DECISION_OUTPUTS) - set(outputs)
        problems += [f"{name} has no output {output}" for output in sorted(missing)]
    return problems


def image_size(signatures: dict[str, Any]) -> tuple[int | None, int | None]:
    """Height and width that predict_images takes; None where the version leaves one free."""
    images = signatures[contract.SIGNATURE_IMAGES]["inputs"][contract.INPUT_IMAGES]
    height, width = images["shape"][1:3]
    return height, width


def differences(stable: dict[str, Any], candidate: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Compares a candidate's signatures with the stable version's.

    Args:
        stable: as export.gate.evidence.describe() gives them.
        candidate: the same.

    Returns:
        what would break a caller of the stable version, and what a caller might notice; in words.
    """
    problems, notes = [], []
    for name, wanted in stable.items():
        if name not in candidate:
            problems.append(f"no signature {name}")
            continue
        found = candidate[name]
        if found["method"] != wanted["method"]:
            problems.append(f"{name} is {found['method']}, not {wanted['method']}")
        extra = sorted(set(found["inputs"]) - set(wanted["inputs"]))
        problems += [f"{name} asks for one more input: {alias}" for alias in extra]
        for kind in ("input", "output"):
            for alias, tensor in wanted[f"{kind}s"].items():
                other = found[f"{kind}s"].get(alias)
                if other is None:
                    problems.append(f"{name} has no {kind} {alias}")
                elif _type(other) != _type(tensor):
                    problems.append(
                        f"{name}: {kind} {alias} is {_words(other)}, not {_words(tensor)}"
                    )
                elif other["shape"] != tensor["shape"]:
                    notes.append(
                        f"{name}: {kind} {alias} is {_words(other)}; it was {_words(tensor)}"
                    )
    return problems, notes


def _type(tensor: dict[str, Any]) -> tuple[str, int | None]:
    return tensor["dtype"], None if tensor["shape"] is None else len(tensor["shape"])


def _words(tensor: dict[str, Any]) -> str:
    if tensor["shape"] is None:
        return f"{tensor['dtype']} of any shape"
    return f"{tensor['dtype']} [{', '.join('N' if d is None else str(d) for d in tensor['shape'])}]"
