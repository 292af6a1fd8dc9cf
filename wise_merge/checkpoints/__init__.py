"""Checkpoints as they lie on disk or on the Hub: what each one is, whether several fit, which ones a run has left.

`files` and `headers` read one, `folder` says what it is, `architecture`, `equality`, `pairs` and `fit` compare several,
`runs` lists those of a training run. No weight is read but where two are compared or hashed.
"""
