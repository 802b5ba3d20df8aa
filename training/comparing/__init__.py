"""Runs beside each other: what each one is, and which of two is better."""
