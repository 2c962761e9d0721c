"""Recurrent cells, one file each: initial weights, forward beside backward, a single step."""
