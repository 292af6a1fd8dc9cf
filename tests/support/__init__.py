"""What several test files build or start: one module for each kind of thing."""
