"""Validates documents against schemas; for the environment's interpreter, which has the packages.

    python in_environment.py < {"documents": {key: …}, "schemas": "folder"}

Built-in kinds go through kubernetes-validate, strictly (an unknown field is an error), once for
each of the three newest Kubernetes versions; custom ones through the folder's <group>_<kind>.json.
"""

import functools
import json
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
from kubernetes_validate import utils

NEWEST = 3


def main() -> int:
    """Answers {"versions": […], "errors": [[key, version, words], …]}."""
    # It reads and parses a file of some megabytes for each document.
    utils.schema_contents = functools.lru_cache(maxsize=None)(utils.schema_contents)
    asked = json.load(sys.stdin)
    # all_versions names each twice: plain and strict
    versions = list(dict.fromkeys(utils.major_minor(one) for one in utils.all_versions()))[-NEWEST:]
    custom = {path.stem: json.loads(path.read_text()) for path in Path(asked["schemas"]).glob("*")}
    errors = []
    for key, document in asked["documents"].items():
        group = document["apiVersion"].partition("/")[0]
        schema = custom.get(f"{group}_{document['kind'].lower()}")
        if schema is not None:
            errors += [[key, "custom", words] for words in against(schema, document)]
            continue
        for version in versions:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:  # noqa: PERF203
                path = ".".join(str(step) for step in error.path)
                errors.append([key, version, f"{path}: {error.message[:300]}"])
            except kubernetes_validate.SchemaNotFoundError as error:
                errors.append([key, version, error.message])
    json.dump({"versions": versions, "errors": errors}, sys.stdout)
    return 0


def against(schema: dict, document: dict) -> list:
    """A sentence for each thing that a schema of ours refuses."""
    validator = jsonschema.Draft202012Validator(schema)
    return [
        f"{'.'.join(str(step) for step in error.path)}: {error.message[:300]}"
        for error in validator.iter_errors(document)
    ]


if __name__ == "__main__":
    sys.exit(main())
