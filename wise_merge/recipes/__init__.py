"""Recipes for merges as plain data: reading, what their keys may say, and the value for each tensor."""
