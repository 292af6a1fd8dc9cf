"""What this package takes from inside other programs, a list per host, and whether this version still has it.

Their public interfaces hold from one version to the next; what stands in these lists does not have to. It is asked
for before it is used, and each list says what happens without it. `versions` says which versions were tested.
"""
