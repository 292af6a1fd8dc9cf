"""Two checkpoints of a recipe, tensor by tensor, without mergekit: what is done to each, and the averages themselves.

`layout` says it from headers alone, `pair` computes it for an engine that has a model in memory. `wise_merge.merge`
writes the same averages to files.
"""
