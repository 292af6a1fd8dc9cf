"""What samples points: engines in this process, in several, or on a cluster, for a sweep and for a soup alike.

`fields` and `settings` are what the user says of them, `reading` and `checks` whether it can be meant, `checkpoints`
whether checkpoints can be merged in an engine, `memory` whether they fit there, `results` what the folder of results
holds already. `worker` is an engine with its tasks, `processes` and `cluster` are many of them, `sampling` has them
draw what is missing.
"""
