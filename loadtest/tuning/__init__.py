"""Which batching parameters carry the highest rate: candidates, and servers to try them on."""
