"""A network that was trained elsewhere, and a head of our own on its features."""
