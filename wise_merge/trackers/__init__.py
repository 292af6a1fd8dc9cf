"""Experiment trackers: what they are told (`contract`), a file per library, how a slow one stalls nobody (`process`).

Knows nothing of sweeps: figures have names, and what they are figures of has a title. The libraries are imported when a
tracker is opened, and nowhere else.
"""
