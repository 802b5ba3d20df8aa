"""What a run leaves: metrics, predictions and its page."""
