"""What the process that reads mathematics (`worker`) writes to the one that started it (`workers`), as JSON lists.

The first entry says which message it is; the places of answers follow.
"""

#: [READING, i]: about to read answer i.
READING = 0
#: [COMPARING, i, j]: about to compare the wrong answers i and j.
COMPARING = 1
#: [READING_GOLD]: about to read the gold.
READING_GOLD = 2
#: [DONE, verdicts]: the last message on a problem.
DONE = 3
#: [NO_TIME, i]: there was no time for answer i, or it took too long.
NO_TIME = 4
