"""Comparisons, histories and records written as text, for people and for programs."""
