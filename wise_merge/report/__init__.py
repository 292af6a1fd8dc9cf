"""The report of a sweep: one HTML page that works offline, and the same figures for papers.

`numbers` computes everything once, from the outcomes; `page` and `figures` draw what they find there and compute
nothing, so the two cannot disagree. `texts` fetches the samples behind the numbers from the journal.
"""
