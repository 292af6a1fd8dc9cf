"""Fits the diagonal of a checkpoint's Fisher information to held-out completions, for the merge method `fisher`."""
