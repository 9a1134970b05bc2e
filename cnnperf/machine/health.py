"""Read the errors that a GPU has counted: memory, NVLink, and those that the driver reports.

They say which card is failing, where clocks and power look as always. The counters are read before
and after a training, because some of the reads take milliseconds; the driver's errors (Xid) arrive
as events, which cost nothing until they are read.

    python -c "from cnnperf.machine.health import *; from cnnperf.machine.nvml import open_gpu;
    print(read_health(open_gpu(0)))"
"""

from __future__ import annotations

from typing import Any

from cnnperf.machine.nvml import NVLINK_MAX_LINKS, GpuHandle, ask, order
from cnnperf.record.environment import DeviceHealth

CORRECTED, UNCORRECTED = 0, 1
"""nvmlMemoryErrorType_t of nvml.h."""

VOLATILE, AGGREGATE = 0, 1
"""nvmlEccCounterType_t: since the driver was loaded, and in the card's life."""

RETIREMENT_CAUSES = (0, 1)
"""nvmlPageRetirementCause_t: several single-bit errors, and a double-bit error."""

NVLINK_COUNTERS = (0, 1, 2, 3)
"""nvmlNvLinkErrorCounter_t: replays, recoveries, and CRC errors of flits and of data."""

XID_EVENTS = 0x8
"""nvmlEventTypeXidCriticalError."""

MAX_XIDS = 100
"""Events that are read of one training; a card that fails for good sends them without end."""


def read_health(gpu: GpuHandle) -> DeviceHealth:
    """Return what the board has counted so far; None for what it does not count."""
    board = gpu.board
    rows = ask("nvmlDeviceGetRemappedRows", board) or (None, None, None, None)
    pages = [ask("nvmlDeviceGetRetiredPages", board, cause) for cause in RETIREMENT_CAUSES]
    known = [len(each) for each in pages if each is not None]
    return DeviceHealth(
        ecc_corrected=ask("nvmlDeviceGetTotalEccErrors", board, CORRECTED, VOLATILE),
        ecc_uncorrected=ask("nvmlDeviceGetTotalEccErrors", board, UNCORRECTED, VOLATILE),
        ecc_corrected_lifetime=ask("nvmlDeviceGetTotalEccErrors", board, CORRECTED, AGGREGATE),
        ecc_uncorrected_lifetime=ask("nvmlDeviceGetTotalEccErrors", board, UNCORRECTED, AGGREGATE),
        remapped_rows_correctable=rows[0],
        remapped_rows_uncorrectable=rows[1],
        remapping_pending=None if rows[2] is None else bool(rows[2]),
        remapping_failed=None if rows[3] is None else bool(rows[3]),
        retired_pages=sum(known) if known else None,
        nvlink_errors=_nvlink_errors(board),
    )


def _nvlink_errors(board: Any) -> int | None:
    """Return the errors of all active links together."""
    active = [n for n in range(NVLINK_MAX_LINKS) if ask("nvmlDeviceGetNvLinkState", board, n) == 1]
    counts = [
        ask("nvmlDeviceGetNvLinkErrorCounter", board, link, counter)
        for link in active
        for counter in NVLINK_COUNTERS
    ]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


class XidEvents:
    """Collect the numbers of the driver's errors (Xid) on a GPU from now on."""

    def __init__(self, gpu: GpuHandle) -> None:
        self._set = ask("nvmlEventSetCreate")
        self._is_open = order("nvmlDeviceRegisterEvents", gpu.board, XID_EVENTS, self._set)

    def close(self) -> tuple[int, ...] | None:
        """Return the numbers seen, in order; None where NVML reports none on this system."""
        if not self._is_open:
            return None
        found: list[int] = []
        while len(found) < MAX_XIDS:
            event = ask("nvmlEventSetWait_v2", self._set, 0)
            if event is None:  # NVML_ERROR_TIMEOUT: there is no other one
                break
            found.append(int(event.eventData))
        order("nvmlEventSetFree", self._set)
        self._is_open = False
        return tuple(found)
