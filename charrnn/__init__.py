"""charrnn: train, sample and evaluate character-level recurrent networks with NumPy."""

__version__ = "0.1.0"
