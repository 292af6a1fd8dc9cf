"""Files of tensors that accompany checkpoints: what was fitted to data, or taken out of weights, and methods merge by.

Each is one safetensors file that says in its metadata what it is. `contents` reads and writes them, `stored` hands out
their tensors, whole or in parts; a module for each kind says what belongs to it.
"""
