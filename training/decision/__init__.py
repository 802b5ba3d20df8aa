"""From a run's probabilities to decisions: calibration, threshold, review band."""
