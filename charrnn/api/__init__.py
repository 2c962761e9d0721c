"""The Python API, and the loaded model that it shares with the commands."""
