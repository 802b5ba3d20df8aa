"""The servers' view of a run: their Prometheus pages, and where the latency went."""
