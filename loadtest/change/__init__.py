"""A run under change: what is done to the servers meanwhile, and what it cost their callers."""
