"""Problems in the form of LiveCodeBench's files (arXiv 2403.07974): programs judged by hidden tests.

lm-eval has no such task. `cases` reads the tests of a row, `judging` runs programs against them, `task` is the class.
"""
