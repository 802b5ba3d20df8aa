"""Renders and checks everything under k8s/ -> build/manifests.json.

    python -m tests.manifests                everything, two minutes on two cores
    python -m tests.manifests --alone        overlays and single components only, half a minute

Every overlay and every combination of components goes through the real `kubectl kustomize`, then
through the schemas of the three newest Kubernetes versions (custom resources: schemas/), the Pod
Security Standard `restricted`, the names that documents use of each other, and checkov. The tools
are fetched the first time. What is wrong is said on stderr, a line each. Exit code 0: nothing is
wrong; 1: something is; 2: it could not be checked.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml

from foundation import command_line
from foundation.command_line import InputError
from foundation.figures import Figures
from tests.environments import UnavailableError
from tests.manifests import findings, references, renders, restricted, tools

logger = logging.getLogger("tests.manifests")

SCHEMAS: Final = Path(__file__).with_name("schemas")
VALIDATOR: Final = Path(__file__).with_name("in_environment.py")


@dataclass
class Everything:
    """All renders; a document that many of them share is kept once."""

    renders: int = 0
    refused: list[str] = field(default_factory=list)
    documents: dict[str, renders.Document] = field(default_factory=dict)
    """By digest."""
    seen_in: dict[str, str] = field(default_factory=dict)
    """The first render that has a document."""
    dangling: list[str] = field(default_factory=list)
    whole: dict[str, list[renders.Document]] = field(default_factory=dict)
    """The renders that checkov sees as a whole: overlays, single components, and all together."""

    def add(self, name: str, documents: list[renders.Document]) -> None:
        """Adds one render."""
        self.renders += 1
        self.dangling += [f"{name}: {found}" for found in references.dangling(documents)]
        for document in documents:
            digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
            self.documents.setdefault(digest, document)
            self.seen_in.setdefault(digest, name)

    def name(self, digest: str) -> str:
        """A document, as a person finds it."""
        document = self.documents[digest]
        return f"{self.seen_in[digest]}: {document['kind']} {document['metadata']['name']}"


def main(argv: list[str] | None = None) -> int:
    """The command; prints the path of the figures on stdout."""
    parser = command_line.Parser(
        prog="python -m tests.manifests",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--alone", action="store_true", help="leave out the combinations of components"
    )
    args = parser.parse_args(argv)
    command_line.configure_logging()
    return command_line.run(parser.prog, lambda: _command(args.alone))


def _command(alone: bool) -> int:
    try:
        stands = tools.make()
        return check(stands, alone=alone).write()
    except (UnavailableError, tools.ToolError) as error:
        raise InputError(
            f"Expected {', '.join(tools.PACKAGES)} from the package index. Received: {error}"
        ) from error


def check(stands: tools.Tools, *, alone: bool) -> Figures:
    """Renders everything and judges it.

    Args:
        stands: the tools.
        alone: leave out the combinations of components.
    """
    figures = Figures("manifests", "python -m tests.manifests" + (" --alone" if alone else ""))
    everything = render(stands, alone=alone)
    figures.add("renders", everything.renders, "renders", at_least=1)
    figures.add("renders_refused", len(everything.refused), "renders", at_most=0)
    figures.add("documents", len(everything.documents), "documents")
    _tell("does not render", everything.refused)

    versions, errors = schema_errors(stands, everything)
    figures.add("kubernetes_versions", " ".join(versions), "")
    figures.add("schema_errors", len(errors), "errors", at_most=0)
    _tell("schema", errors)

    refused = [
        f"{everything.name(digest)}: {found}"
        for digest, document in everything.documents.items()
        for found in restricted.violations(document)
    ]
    pods = sum(1 for one in everything.documents.values() for _ in restricted.pods(one))
    figures.add("pods", pods, "pods", at_least=1)
    figures.add("restricted_violations", len(refused), "violations", at_most=0)
    _tell("restricted", refused)

    figures.add("dangling_references", len(everything.dangling), "names", at_most=0)
    _tell("names", everything.dangling)

    _checkov(stands, everything, figures)
    return figures


def render(stands: tools.Tools, *, alone: bool) -> Everything:
    """Renders every overlay and combination; records one that does not render."""
    everything = Everything()
    combined = [renders.alone(name) for name in renders.ORDER]
    if not alone:
        combined = list(renders.combinations())
    jobs = [(f"overlays/{name}", name, ()) for name in renders.overlays()]
    jobs += [("+".join(chosen) or "base", None, chosen) for chosen in combined]
    largest = max(len(chosen) for chosen in combined)
    singles = {renders.alone(name) for name in renders.ORDER}
    for (name, overlay, chosen), documents in renders.render_each(stands, jobs):
        if isinstance(documents, tools.ToolError):
            everything.refused.append(f"{name}: {documents}")
            continue
        everything.add(name, documents)
        if overlay or chosen in singles or len(chosen) == largest:
            everything.whole[name] = documents
    logger.info("%d renders, %d different documents", everything.renders, len(everything.documents))
    return everything


def schema_errors(stands: tools.Tools, everything: Everything) -> tuple[list[str], list[str]]:
    """The Kubernetes versions that were asked, and what their schemas refuse, a sentence each."""
    documents = dict(everything.documents)
    # The Job inside a custom resource is a Job, and its own schema says only where it stands.
    for digest, document in everything.documents.items():
        for index, job in enumerate(_jobs_within(document)):
            documents[f"{digest} {index}"] = job
    answer = tools.run_json(
        [str(stands.python), str(VALIDATOR)], {"documents": documents, "schemas": str(SCHEMAS)}
    )
    errors = [
        f"{everything.name(key.split()[0])}: {version}: {words}"
        for key, version, words in answer["errors"]
    ]
    return answer["versions"], errors


def _jobs_within(document: renders.Document) -> Iterator[renders.Document]:
    if document["kind"] != "TrainingRuntime":
        return
    for job in document["spec"]["template"]["spec"]["replicatedJobs"]:
        metadata = {"name": job["name"], **job["template"].get("metadata", {})}
        yield {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": metadata,
            "spec": job["template"]["spec"],
        }


def _checkov(stands: tools.Tools, everything: Everything, figures: Figures) -> None:
    """Checkov over the whole renders, and over the documents that only other combinations have."""
    folder = renders.RENDERED / "checked"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    covered = set()
    for name, documents in everything.whole.items():
        (folder / f"{name.replace('/', '-')}.yaml").write_text(yaml.safe_dump_all(documents))
        covered |= {json.dumps(document, sort_keys=True) for document in documents}
    rest = [
        document
        for document in everything.documents.values()
        if json.dumps(document, sort_keys=True) not in covered and document["kind"] == "Deployment"
    ]
    # A file each: two of a name in one file would be taken for one. The policies that select them
    # stand beside them, for checkov asks whether a pod has one.
    policies = [one for one in everything.documents.values() if one["kind"] == "NetworkPolicy"]
    for number, document in enumerate(rest):
        text = yaml.safe_dump_all([document, *policies])
        (folder / f"combined-{number}.yaml").write_text(text)
    failed, passed = findings.find(stands, folder)
    explained: Counter[tuple[str, str]] = Counter()
    unexplained = []
    for finding in failed:
        reason = findings.explanation(finding)
        if reason is None:
            where = f"{Path(finding['file_path']).stem}: {finding['resource']}"
            unexplained.append(f"{where}: {finding['check_id']} {finding['check_name']}")
        else:
            explained[reason] += 1
    figures.add("checkov_passed", passed, "checks")
    figures.add("checkov_explained", sum(explained.values()), "findings")
    figures.add("checkov_unexplained", len(unexplained), "findings", at_most=0)
    idle = [" ".join(entry) for entry in findings.EXPLAINED if entry not in explained]
    figures.add("checkov_explanations_of_nothing", len(idle), "entries", at_most=0)
    _tell("checkov", unexplained)
    _tell("explains nothing", idle)


def _tell(what: str, sentences: Iterable[str]) -> None:
    for sentence in sentences:
        logger.error("%s: %s", what, sentence)


if __name__ == "__main__":
    sys.exit(main())
