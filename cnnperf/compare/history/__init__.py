"""Many records over time: series of medians, and the steps in them.

Torch-free. Imported only by `cnnperf history`: duckdb and ruptures take their time.
"""
