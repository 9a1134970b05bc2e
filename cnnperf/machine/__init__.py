"""What this machine is, what state it is in, and whether that state spoils a measurement.

Torch-free: nothing here imports torch at import, and `collect_environment` only if told to. NVML
is loaded on the first question. Whatever cannot be found out is None; nothing here raises for it.
Records are read by `schema` alone, so importing this package loads no other part of it.
"""
