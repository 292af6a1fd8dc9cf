"""`wise-merge sweep`: the points of a training run or of a set of checkpoints, sampled in one running engine.

`settings` is what the user says, `checks` whether it can be meant, `plan` which points that are and whether they can
be sampled, `worker` an engine that samples them, `rounds` which of them get further samples, `processes` and `cluster`
many workers, `earlier` what the folder of results holds already, `pipeline` the order of work.
"""
