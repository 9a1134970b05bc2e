"""The record of a run: its schema, metrics, journal, and the messages between parent and worker."""
