"""What a process has used: the processor's time, and its memory; from Linux's clocks and /proc."""

import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Usage:
    """Up to now, or between two times."""

    cpu_s: float  # in user space and in the kernel
    peak_bytes: int  # resident, since the start or since `forget_peak`

    def __sub__(self, before: "Usage") -> "Usage":
        return Usage(self.cpu_s - before.cpu_s, self.peak_bytes)


def usage_of(pid: int) -> Usage:
    """Of a process that runs; its threads are in it, its children are not."""
    return Usage(cpu_s_of(pid), _memory(pid, "VmHWM"))


def cpu_s_of(pid: int) -> float:
    """The processor's time of a process, by its own clock: /proc has it in steps of 10 ms only."""
    return time.clock_gettime(~pid << 3 | 2)  # as clock_getcpuclockid(3) makes it on Linux


def resident_bytes(pid: int) -> int:
    """What a process has in memory now."""
    return _memory(pid, "VmRSS")


def forget_peak(pid: int) -> None:
    """Let the peak be counted from now on (proc(5), clear_refs); for who may write there."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _memory(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
