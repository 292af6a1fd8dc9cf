"""Our merge methods for mergekit: its kernels, the checks before it starts, its plan, its models and its adapters."""
