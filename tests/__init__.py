"""Tests of the project; a package, so that tests can share helpers by name."""
