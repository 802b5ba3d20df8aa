"""gevent and eventlet: sockets that let other greenlets run, and gRPC, which does not use them.

gRPC waits in C. Unless its own gevent mode is on, one call blocks all greenlets of the process, and
a fork may hang.
"""

from __future__ import annotations

import sys
import warnings


def warn_if_calls_block() -> None:
    """Warns where sockets are patched and gRPC's calls would block every greenlet."""
    patched = _patched_by()
    if not patched or (patched == "gevent" and _gevent_mode()):
        return
    todo = "use threads in place of eventlet, which gRPC does not know"
    if patched == "gevent":
        todo = "call grpc.experimental.gevent.init_gevent() after patching, before the first client"
    warnings.warn(
        f"Expected gRPC to let other greenlets run. Received: sockets patched by {patched}, and "
        f"gRPC in its usual mode: each call blocks all greenlets, and a fork may hang; {todo}",
        RuntimeWarning,
        stacklevel=2,
    )


def _patched_by() -> str:
    """The library that put sockets of its own in place of the standard ones; empty for none."""
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched("socket"):
        return "gevent"
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("socket"):
        return "eventlet"
    return ""


def _gevent_mode() -> bool:
    """Whether init_gevent was called; there is no public way to ask."""
    cygrpc = sys.modules.get("grpc._cython.cygrpc")
    return bool(getattr(cygrpc, "g_gevent_activated", True))
