"""The paper's phenomenon in minutes on two CPU cores: a tiny model is trained, merged, sampled and drawn."""
