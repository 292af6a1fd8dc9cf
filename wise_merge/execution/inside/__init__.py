"""What runs beside the programs: a server that forks a process per program, and what it lets that process do.

Started as a program of its own, in the sandbox where there is one, so these modules use the standard library and
nothing of the package beside them.
"""
