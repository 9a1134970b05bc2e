"""The worker: one process a repeat, started as `python -m cnnperf.worker`.

A CUDA fault, an out-of-memory kill or a hang takes this process with it and nothing else.
`cnnperf.protocol` says what it hears and says; `cnnperf.runner` is the other end.
"""
