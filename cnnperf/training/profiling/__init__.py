"""Profiles of training steps: record a trace, read it, and attribute time to kinds of work."""
