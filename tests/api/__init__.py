"""Tests of `cnnperf.cli.python`, what scripts and notebooks call."""
