"""Recurrent cells, one file each: forward through time beside backward, and a single step."""
