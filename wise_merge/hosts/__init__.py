"""What this package takes from inside other programs, a list per host, and whether this version still has it.

Public interfaces stay from one version to the next; what these lists name may change. So it is checked before it is
used, and each list says what happens without it. `versions` says which versions were tested.
"""
