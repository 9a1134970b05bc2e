"""Pages that people look at: one run, two runs, several machines, a history.

Torch-free. Imported only by `cnnperf report` and `cnnperf history`: altair takes its time.
"""
