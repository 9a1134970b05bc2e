"""How the C library hands out memory to a worker that trains with `fast`: keep it, in huge pages.

Torch-free. On a CPU every step frees and takes hundreds of megabytes of activations. glibc gives
large blocks back to the kernel, which has to find, clear and map them anew page by page in the next
step (docs/performance.md has what that costs). glibc reads its tunables
when a process starts, so it is the parent that sets them.

Source: glibc's manual, "Memory Allocation Tunables". Other C libraries ignore the variable.
"""

from __future__ import annotations

import os

from cnnperf.machine.nvml import count_gpus
from cnnperf.record.messages import ProbeJob, TrainJob

VARIABLE = "GLIBC_TUNABLES"

KEEP_MEMORY = (
    "glibc.malloc.mmap_max=0:"  # no block of its own mapping, which goes when it is freed
    "glibc.malloc.trim_threshold=1099511627776:"  # nothing is given back
    "glibc.malloc.top_pad=67108864:"  # grow 64 MiB at a time
    "glibc.malloc.hugetlb=1"  # transparent huge pages, where the kernel has them on request
)


def worker_environment(job: TrainJob | ProbeJob) -> dict[str, str]:
    """This process's environment; for `fast` on a CPU the tunables, unless the user set some."""
    if isinstance(job, TrainJob) and job.case.engine == "fast" and _trains_on_cpu(job):
        return {VARIABLE: KEEP_MEMORY, **os.environ}
    return dict(os.environ)


def _trains_on_cpu(job: TrainJob) -> bool:
    """As far as can be told without torch."""
    return job.device == "cpu" or (job.device == "auto" and not count_gpus())
