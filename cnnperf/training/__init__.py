"""Training on one device: engines, data, clock, evaluation and the worker process."""
