"""`wise-merge sweep`: the points of a training run or of a set of checkpoints, sampled in one running engine.

`settings` is what the user says, `checks` whether it can be meant, `plan` which points that are and whether they can
be sampled, `earlier` which checkpoints the folder of results knows already, `rounds` which points get further samples,
`pipeline` the order of work. What samples them is in `search.engines`.
"""
