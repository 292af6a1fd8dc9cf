"""Which point of a sweep is best: chosen on one half of the problems, confirmed on the other.

`objective` reads what is wanted, `figures` and `candidates` turn a folder of results into arrays, `choice` chooses
and `confirmation` measures what was chosen on problems that had no part in it (both pure functions). `finding` goes
the whole way to a `result`, `recipe` and `table` say it, `pipeline` is the order of work. Samples nothing and reads
no weight.
"""
