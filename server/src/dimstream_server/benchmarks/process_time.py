"""Processor time of other processes."""

from __future__ import annotations

import math
import os
from pathlib import Path


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, seconds; NaN where there is no /proc."""
    path = Path(f"/proc/{pid}/stat")
    if not path.exists():
        return math.nan
    fields = path.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
