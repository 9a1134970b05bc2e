"""Tests of whole runs: pytest, its plugin and real worker processes."""
