"""WiSE-FT and BANG merges for mergekit, Pass@K tasks for lm-eval."""

__version__ = "0.1.0"
