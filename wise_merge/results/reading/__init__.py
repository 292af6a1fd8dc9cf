"""Files of samples, read: rows become problems with their samples, and nothing is judged yet.

`rows` reads files line by line, `columns` and `finder` say which column holds what, `texts` and
`lists` what a row holds, `plan` by which benchmark a file is read, `reader` collects the problems,
`samples` does all of it for one run.
"""
