"""Tests of the documents' commands and figures."""
