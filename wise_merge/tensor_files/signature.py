"""Signature files: what a checkpoint has learnt beside another one, a tensor for each weight that has any of it.

In float16 or float32; or in int8, with a float32 scale for each row beside each tensor, of its name and `SCALE`.
`wise-merge signature extract` makes them.
"""

KIND = "signature"
#: Of the name of a tensor that has the scales of another one.
SCALE = ".scale"
#: In which they may be written.
DTYPES = ("float16", "int8", "float32")
