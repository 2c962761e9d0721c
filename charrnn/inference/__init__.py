"""Using a trained model: sampling, scoring and dynamic evaluation."""
