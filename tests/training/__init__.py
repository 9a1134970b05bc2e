"""Tests of the worker, its parent's end and the training itself."""
