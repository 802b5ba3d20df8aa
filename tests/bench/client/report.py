"""What the client's page shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial

from matplotlib.figure import Figure

from tests.bench.client import imports, plots
from tests.bench.client.arrays import Arrays
from tests.bench.client.calls import Calls
from tests.bench.client.outage import Outage
from tests.bench.page import Section

IMPORT = """Fresh processes, in turns; resident memory includes the interpreter, time does not.
tfs_client: the clients, the classifiers, Retry and Router. protobuf: what every generated file
imports, without a message."""

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

OUTAGE = """Above: which version answered, by when the call began. Below: how long each call took.
Solid line: the server was killed; dashed: the new one had opened its port."""


@dataclasses.dataclass
class Found:
    """What was measured; a part that was not is left out."""

    imports: imports.Rounds | None = None
    encoded: Arrays | None = None
    decoded: Arrays | None = None
    calls: Calls | None = None
    outages: Mapping[str, Outage] = dataclasses.field(default_factory=dict)


def sections(found: Found) -> list[Section]:
    """The page's sections, in order."""
    shown: list[Section] = []
    plot: Callable[[], Figure]
    if found.imports is not None:
        shown.append(Section("Import", IMPORT, partial(plots.import_costs, found.imports)))
    if found.encoded is not None:
        plot = partial(plots.encoding, found.encoded)
        shown.append(Section("From arrays to request bytes", ENCODE, plot))
    if found.decoded is not None:
        plot = partial(plots.decoding, found.decoded)
        shown.append(Section("From answer bytes to arrays", DECODE, plot))
    if found.calls is not None:
        shown += [
            Section("Calls beside a bare stub", RATIO, partial(plots.latency_ratios, found.calls)),
            Section("Latency", SPREAD, partial(plots.latencies, found.calls)),
            Section("Memory", MEMORY, partial(plots.memory, found.calls)),
        ]
    if found.outages:
        plot = partial(plots.outages, found.outages)
        shown.append(Section("A server killed and restarted", OUTAGE, plot))
    return shown
