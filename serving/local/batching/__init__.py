"""Requests of different callers merged into one run of the model."""
