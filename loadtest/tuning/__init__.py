"""Which batching parameters carry most: candidates, and servers to try them on."""
