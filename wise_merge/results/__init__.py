"""The shape in which facts travel: samples read from files, the figures made of them, and both written down.

`rows` knows files and their lines, `columns` what a column holds, `samples` the samples of a
problem, `summary` the figures, `export` JSON and CSV. The judging is that of `answers`, the
formulas are those of `estimators`.
"""
