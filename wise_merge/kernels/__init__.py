"""Exact arithmetic on tensors, block by block: torch and nothing else."""
