"""Merge integer updates into one aggregate and step the model, with the same bits on every machine."""
