"""What a merge does to each tensor: laid out from headers, carried out, in memory or where it is written.

`layout` says it from headers alone, `in_memory` computes it for an engine that has a model loaded. `wise_merge.merge`
writes the same averages to files.
"""
