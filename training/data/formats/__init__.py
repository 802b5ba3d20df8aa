"""Image files, looked at in the graph before a decoder sees them; see examine.py."""
