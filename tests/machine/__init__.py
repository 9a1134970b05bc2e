"""Tests of what is known of the machine, its state, and when to doubt a measurement."""
