"""Two records in, one answer out: slower, less accurate, or not to be told.

Torch-free, and loaded only when something is compared.
"""
