"""Scorers, which rank the completions of one problem, and the one way to run them over many problems.

A scorer is any callable from (problem, completions) to one score per completion; higher is
better, and the score of a completion must not depend on the others. Those shipped are named
by a spec such as `reward:ORG/MODEL` (`specs`, docs/scorers.md). Scores are kept beside the samples
(`cached`). Best@k and weighted votes are computed from them elsewhere (wise_merge/estimators).
"""

from wise_merge.verifiers.cached import cache_path, score_samples
from wise_merge.verifiers.specs import KINDS, check_spec, find

__all__ = ["KINDS", "cache_path", "check_spec", "find", "score_samples"]
