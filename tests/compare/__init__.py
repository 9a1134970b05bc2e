"""Comparing two records."""
