"""What a run says of the process and the code it was trained by."""

import contextlib
import functools
import importlib.metadata
import math
import os
import re
import subprocess
from pathlib import Path

from leafexp.paths import CODE, IN_CHECKOUT

_CLEAR_PEAK, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")  # Linux's


def forget_peak_memory() -> None:
    """Let `peak_memory_mb` count from now on, where the system can."""
    with contextlib.suppress(OSError):
        _CLEAR_PEAK.write_text("5")


def peak_memory_mb() -> float:
    """The most memory this process had resident since its run began, in 10^6 bytes; NaN where only Linux tells.

    In a sweep it includes what earlier runs of the process left behind.
    """
    if not os.access(_CLEAR_PEAK, os.W_OK):
        return math.nan
    (kibibytes,) = re.findall(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())
    return int(kibibytes) * 1024 / 1e6


@functools.cache  # the code of this process is the code it started with
def git_commit() -> str:
    """The commit this code is at, with `-dirty` when files differ from it; the installed version outside a checkout."""
    command = ["git", "-C", str(CODE), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        if IN_CHECKOUT:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        pass
    return f"none (leafexp {importlib.metadata.version('leafexp')})"
