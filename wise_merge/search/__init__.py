"""The search for the best merge: `sweep` samples many, `best` chooses one of them."""
