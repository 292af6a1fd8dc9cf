"""Looking for the average that is worth keeping: `sweep` samples many, `best` chooses one of them."""
