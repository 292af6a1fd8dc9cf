"""The search for the best merge: `sweep` samples many, `best` chooses one, `soup` finds which models to average.

What samples, for sweeps and soups alike, is in `engines`.
"""
