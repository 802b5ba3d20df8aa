"""Several settings beside each other, each with several seeds, ranked by validation."""
