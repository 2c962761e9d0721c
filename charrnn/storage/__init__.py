"""Checkpoints: one file holds the whole run."""
