"""Tests of planning and running trainings."""
