"""Tests of `cnnperf.api`, what scripts and notebooks call."""
