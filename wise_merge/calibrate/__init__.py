"""Fits to held-out completions what merge methods need to know: temperatures for `bang`, Fisher files for `fisher`."""
