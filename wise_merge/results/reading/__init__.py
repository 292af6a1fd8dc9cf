"""Files of samples, read: rows become problems with their samples, and nothing is judged yet.

`rows` reads files line by line. `columns`, `finder` and `benchmark_choice` find out how a file is to
be read, which is its `plan`. `row_problem` and `row_samples` take apart a row by it, with `texts` and
`lists`. `reader` collects the problems, and `samples` does all of this for one run.
"""
