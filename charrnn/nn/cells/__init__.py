"""Recurrent cells, one file each: initial weights, forward and backward, a single step."""
