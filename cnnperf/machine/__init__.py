"""Describe this machine, its state, and what in that state disturbs a measurement.

A value that cannot be read is None; nothing here raises an exception for it.
"""
