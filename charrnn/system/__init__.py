"""The machine and the operating system: cores, memory, signals, locks. Imports no NumPy."""
