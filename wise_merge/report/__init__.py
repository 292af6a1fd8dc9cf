"""The report of a sweep: one HTML page that works offline, and the same figures for papers.

`computing` makes all `numbers` once, from the outcomes, in the `groups` in which points are shown; `page` and
`figures` (with `plane`, `spread` and the `looks` that they share) draw what they find there and compute nothing, so the
two cannot disagree. `texts` fetches the samples behind the numbers from the journal.
"""
