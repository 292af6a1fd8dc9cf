"""`wise-merge score`: the figures of files of samples, as a table, JSON, CSV and pictures."""
