"""Callbacks, logs that processes share, and what a fork changes."""
