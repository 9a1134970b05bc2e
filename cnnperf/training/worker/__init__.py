"""The worker: one process a repeat, started as `python -m cnnperf.training.worker`.

A CUDA fault, an out-of-memory kill or a hang takes this process with it and nothing else.
`cnnperf.record.messages` defines its messages; `cnnperf.run.worker_process` is the other end.
"""
