"""What a model has learned: baselines, novelty of samples, diagnostics, the report page."""
