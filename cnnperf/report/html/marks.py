"""How a page says that it is ours. Torch-free, and free of everything else."""

MARK = '<meta name="generator" content="cnnperf report">'
"""In the head of every page: such a file may be overwritten by the next one."""
