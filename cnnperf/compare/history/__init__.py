"""Many records over time: series of medians, and the steps in them.

Only `cnnperf history` imports this package, because duckdb and ruptures load slowly.
"""
