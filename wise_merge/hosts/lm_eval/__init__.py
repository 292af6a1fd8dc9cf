"""How lm-eval finds our tasks and models, and what this package takes from inside it."""
