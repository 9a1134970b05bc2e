"""The settings of glibc's allocator for a worker that trains with `fast` on a CPU.

Every step frees and allocates hundreds of megabytes of activations. glibc returns large blocks to
the kernel, which must clear and map them again in the next step (docs/performance.md has the cost).
With these tunables a worker keeps its memory, in huge pages. glibc reads them when a process
starts, so the parent sets them.

Source: glibc's manual, "Memory Allocation Tunables". Other C libraries ignore the variable.
"""

from __future__ import annotations

import os

from cnnperf.machine.nvml import count_gpus
from cnnperf.record.messages import ProbeJob, TrainJob

VARIABLE = "GLIBC_TUNABLES"

KEEP_MEMORY = (
    "glibc.malloc.mmap_max=0:"  # no separate mappings, which end when freed
    "glibc.malloc.trim_threshold=1099511627776:"  # never return memory to the kernel
    "glibc.malloc.top_pad=67108864:"  # grow 64 MiB at a time
    "glibc.malloc.hugetlb=1"  # transparent huge pages if the kernel offers them
)


def worker_environment(job: TrainJob | ProbeJob) -> dict[str, str]:
    """Return this process's environment, with the tunables for `fast` on a CPU.

    Tunables that the user has set stay.
    """
    if isinstance(job, TrainJob) and job.case.engine == "fast" and _trains_on_cpu(job):
        return {VARIABLE: KEEP_MEMORY, **os.environ}
    return dict(os.environ)


def _trains_on_cpu(job: TrainJob) -> bool:
    """Return whether a job trains on the CPU, as far as this can be known without torch."""
    return job.device == "cpu" or (job.device == "auto" and not count_gpus())
