"""Settings: every one defined once, read from YAML, options and checkpoints."""
