"""Fits a temperature to each of two checkpoints on held-out completions, for the merge method `bang`."""
