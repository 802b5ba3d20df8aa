"""What a run leaves: samples, histograms, and how the generator did."""
