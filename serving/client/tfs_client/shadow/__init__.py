"""A second version asked the same, whose answers are compared and not used."""
