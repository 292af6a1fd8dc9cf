"""`wise-merge sweep`: every late checkpoint x alpha x temperature of a training run, sampled in one running engine.

`settings` is what the user says, `plan` which points that are and whether they can be sampled, `worker` an engine
that samples them, `rounds` which of them get further samples, `cluster` many workers, `pipeline` the order of work.
"""
