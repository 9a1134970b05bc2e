"""Tests of the record, its loading and its journal."""
