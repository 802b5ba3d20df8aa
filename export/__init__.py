"""What a servable version is: a run in, a verified SavedModel with explicit signatures out."""
