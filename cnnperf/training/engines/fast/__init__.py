"""The `fast` engine: the same training, as fast as the hardware allows."""
