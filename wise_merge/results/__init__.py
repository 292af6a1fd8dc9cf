"""Samples read from files, judged, summarised and written down; every other room works on these data classes.

`reading` turns files into problems with their samples; `verdicts` judges these; `metrics` computes
each figure for each problem, `summary` the means with their intervals and `comparison` the paired
differences of two files; `export` writes JSON and CSV, `whole_file` any file, `cells` and `names` the
parts of tables. The judging is that of `answers`, the formulas are those of `estimators`.
"""
