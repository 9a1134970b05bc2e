"""Root of both pytest runs: the tests and the benchmarks.

pytest finds the plugin by its entry point; naming it here, too, would be an error.
"""
