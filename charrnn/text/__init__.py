"""Texts: from files to batches of symbol ids."""
