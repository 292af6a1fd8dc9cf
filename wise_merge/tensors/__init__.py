"""What a merge does to each tensor.

`layout` says it from headers alone, with `statistics` of the tensors where a method needs them; `apply` carries it
out. `in_memory` and `deferred` do so for an engine that has a model loaded; `wise_merge.merge` writes merges to files.
"""
