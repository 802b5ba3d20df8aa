"""The training loop: steps, validation, early stopping, going on after an interruption."""
