"""Tests of the architectures: their layers, first weights, arithmetic and hashes."""
