"""Many devices of one kind: which of them is slow, fast or wrong beside its peers.

Imports stay inside this folder's modules: a comparison of two records needs none of them.
"""
