"""The worker: a process per repeat, started as `python -P -m cnnperf.training.worker FD`.

A CUDA fault, an out-of-memory kill or a hang ends only this process. `cnnperf.record.messages`
defines the messages; `cnnperf.run.worker_process` is the parent's side.
"""
