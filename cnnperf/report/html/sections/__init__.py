"""Sections of the page of one run or two."""
