"""What was sampled, kept as soon as it exists: an append-only file that survives being cut off at any byte.

`records` is what is kept, `lines` the form in which it is written, `files` the files of a folder, `journal` the one
that a run appends to, `evaluations` which problems were asked for together, `contents` what is in a folder of
journals, `table` how that is shown, `export` the way from there to `wise-merge score`.
Nothing here knows a model: samples are texts with a few facts, and what they must share to be of one
distribution is a `Run`.
"""

from wise_merge.journal.contents import KeptRun, read_runs
from wise_merge.journal.journal import Journal
from wise_merge.journal.records import Problem, Run, Sample, problem_id

__all__ = ["Journal", "KeptRun", "Problem", "Run", "Sample", "problem_id", "read_runs"]
