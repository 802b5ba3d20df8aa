"""The benchmark as one self-contained HTML page.

Knows nothing about how anything was measured, nor about bars: those come with the figures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from foundation import page
from foundation.figures import Figures
from tests.bench.client import imports, plots
from tests.bench.client.arrays import Arrays
from tests.bench.client.calls import Calls
from tests.bench.client.outage import Outage

TEMPLATE = Path(__file__).parents[1] / "report.html"

ABOUT = """Clients and servers share the cores; all clients stand on the same gRPC, protobuf and
numpy."""

IMPORT = """Fresh processes, in turns; resident memory includes the interpreter, time does not.
tfs_client: the clients, the classifiers, Retry and Router. protobuf: what every generated file
imports, and no message."""

ENCODE = """The best of each turn. From inputs that are held against a known signature to the bytes
of the request; "until sent": from calling Client.predict to handing the bytes to gRPC. The red line
is the bar. Clients differ by more in time than in copies where several copies of 4 MiB make the C
library give memory back, and take it anew for each request: that slows their one copy down too."""

DECODE = (
    """The best of each turn: from the bytes that gRPC received to an array that can be read."""
)

RATIO = """A server in another process answers at once. Each client takes turns, call by call, with
a bare gRPC stub in its own process that sends the same bytes and reads nothing. The red line is the
bar for tfs_client."""

SPREAD = "Single calls of all rounds, up to the slowest 0.5 %."

MEMORY = "Resident memory of a fresh process after its warm-up."

OUTAGE = """Above: who answered, by when the call began. Below: how long each call took. Solid line:
the server was killed; dashed: the new one had opened its port."""


@dataclasses.dataclass
class Page:
    """What there is to show; a part that was not measured is left out."""

    imports: imports.Rounds | None = None
    encoded: Arrays | None = None
    decoded: Arrays | None = None
    calls: Calls | None = None
    outages: Mapping[str, Outage] = dataclasses.field(default_factory=dict)
    absent: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def write(self, path: Path, figures: Figures) -> None:
        """Writes the page."""
        shown = []
        if self.imports is not None:
            shown.append(("Import", IMPORT, plots.import_costs(self.imports)))
        if self.encoded is not None:
            shown.append(("From arrays to request bytes", ENCODE, plots.encoding(self.encoded)))
        if self.decoded is not None:
            shown.append(("From answer bytes to arrays", DECODE, plots.decoding(self.decoded)))
        if self.calls is not None:
            shown += [
                ("Calls beside a bare stub", RATIO, plots.latency_ratios(self.calls)),
                ("Latency", SPREAD, plots.latencies(self.calls)),
                ("Memory", MEMORY, plots.memory(self.calls)),
            ]
        if self.outages:
            shown.append(("A server killed and restarted", OUTAGE, plots.outages(self.outages)))
        page.write(
            path,
            TEMPLATE,
            origin=page.origin(figures.command),
            title="The client, measured",
            about=ABOUT,
            figures=figures.results,
            holds=figures.hold,
            plots=shown,
            absent=self.absent,
        )
