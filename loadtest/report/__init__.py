"""HTML pages of results, for people."""
