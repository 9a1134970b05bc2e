"""Verdicts, steps and notes as sentences, shared by every output."""
