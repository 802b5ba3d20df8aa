"""From files to batches: found, inspected, split, decoded, augmented."""
