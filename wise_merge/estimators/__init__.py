"""What n independent samples of a problem tell about k of them, and how sure one can be.

Every estimator uses all n samples of a problem, not the first k, and does not depend
on their order. Pure functions over numpy arrays; no host is imported.
"""
