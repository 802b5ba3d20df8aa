"""Changes to the servers during a load: the commands that make them, and what they cost callers."""
