"""Fleets, judged."""
