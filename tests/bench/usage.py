"""What a process has used: the processor's time, and its memory at most; from Linux's /proc."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Usage:
    """Up to now, or between two times."""

    cpu_s: float  # in user space and in the kernel
    peak_bytes: int  # resident, since the start

    def __sub__(self, before: "Usage") -> "Usage":
        return Usage(self.cpu_s - before.cpu_s, self.peak_bytes)


def usage_of(pid: int) -> Usage:
    """Of a process that runs; its threads are in it, its children are not."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])  # utime, stime (proc(5))
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), int(peak.split()[1]) * 1024)
