"""Using a trained model: sampling from it and scoring texts with it."""
