"""Export: from a run to a verified SavedModel with explicit signatures."""
