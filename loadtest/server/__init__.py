"""The servers' view of a run: their metrics pages, and which parts a latency consists of."""
