"""Tests of the registry of models, data sets and cases."""
