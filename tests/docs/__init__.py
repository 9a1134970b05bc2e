"""Tests of the commands and figures in docs/."""
