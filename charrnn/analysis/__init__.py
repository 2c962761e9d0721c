"""What a model has learned: baselines to compare it with, and the report page."""
