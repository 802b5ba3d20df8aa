"""Which versions there are, which are wanted, and the states they go through."""
