"""`wise-merge merge`: a recipe for mergekit, checked before a weight is read and published whole or not at all."""
