"""`wise-merge signature`: what a checkpoint has learnt beside another one, as a file that can be added to models.

`pipeline` is the order of work, `choice` the tensors that are asked for, `extraction` the arithmetic over the files.
"""
