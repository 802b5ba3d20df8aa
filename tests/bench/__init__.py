"""The benchmarks: each measures the product beside something in the same run."""
