"""Profiles of training steps: recording, reading traces, and attributing time to kinds of work."""
