"""The figures of the history page."""
