"""Root of both pytest runs, the project's tests and its benchmarks.

The plugin is not named here: pytest finds it by its entry point, and naming it twice is an error.
"""
