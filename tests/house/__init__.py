"""What holds for the repository as a whole, and cannot be asked of a single room."""
