"""Tasks with K completions per problem that are made from a generation task of lm-eval, and judged by that task itself.

`task` is the class; `original` reads the configuration of the task that it is made from, `settings` says what of it is
changed, `judging` sends completions through its filters and metrics, `metric` finds the one that says right or wrong,
`others` averages the other metrics, `votes` makes votes of filtered responses, `programs` runs those of tasks that have
them.
"""
