"""Training: a run from the request to its final checkpoint."""
