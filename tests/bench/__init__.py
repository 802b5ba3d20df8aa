"""The benchmarks: each measures a part of the product beside something else in the same run."""
