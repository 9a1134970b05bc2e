"""Training on a device: engines, data, clock, evaluation and the worker process. Needs torch."""
