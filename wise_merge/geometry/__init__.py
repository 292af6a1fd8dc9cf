"""How far training moved the weights, and how far a merge moved them back."""
