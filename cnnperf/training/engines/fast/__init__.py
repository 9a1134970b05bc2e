"""The fast engine: the same training, executed near the hardware's limit."""
