"""Reads the final answer out of a completion, and decides which answers are equal and which are right.

Extraction and equality live in this folder and nowhere else: one module per kind of
answer, and `benchmarks` with the table of them.
"""
