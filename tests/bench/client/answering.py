"""A gRPC server that answers at once, with bytes that were prepared.

    python -m tests.bench.client.answering FOLDER       as material.py fills it

Prints its port.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.bench import bare_server

SERVICE = "/tensorflow.serving.PredictionService"


def main() -> int:
    """Serves until it is killed."""
    folder = Path(sys.argv[1])
    answers = {
        f"{SERVICE}/Predict": (folder / "outputs.answer").read_bytes(),
        f"{SERVICE}/GetModelMetadata": (folder / "metadata.answer").read_bytes(),
    }
    bare_server.start(bare_server.prepared(answers), threads=4).wait_for_termination()
    return 0


if __name__ == "__main__":
    sys.exit(main())
