"""Which version answers which caller: the A/B router, its formula and its log."""
