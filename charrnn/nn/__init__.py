"""The mathematics: layers, cells, loss and optimizers. Imports nothing else of charrnn."""
