"""What lm-eval is told of our tasks and models, and what we take from inside it."""
