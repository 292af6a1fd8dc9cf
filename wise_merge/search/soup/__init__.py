"""Greedy soups: which checkpoints of one or of several runs, averaged, are best, found in a running engine.

`settings`, `reading` and `checks` are what the user says and whether it can be meant, `plan` which checkpoints those
are and which models may be asked for, `greedy` the rule (a pure function), `scores` what it is fed with, `finding` goes
from the first sample to a `result`; `table`, `document` and `recipe` say it, `pipeline` is the order of work. What
samples is in `search.engines`, what confirms in `search.best`.
"""
