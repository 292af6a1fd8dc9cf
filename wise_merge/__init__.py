"""WiSE-FT, BANG and uniform soups for mergekit, Pass@K tasks for lm-eval."""

__version__ = "0.1.0"
