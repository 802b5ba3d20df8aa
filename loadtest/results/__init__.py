"""What a run leaves: samples, histograms, percentiles, and the state of the generator."""
