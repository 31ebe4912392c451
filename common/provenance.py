"""Where a number comes from: the machine, without its name, and the commit of this code."""

import os
import platform
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def here():
    """Dict of `machine` and `commit`, as they are now."""
    return {"machine": machine(), "commit": commit()}


def machine():
    """This machine: dict of `cpu`, its model; `num_cores` of this process; `memory_gib`, None if unknown; `gpus`."""
    import tensorflow as tf  # slow to import

    try:
        num_cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        num_cores = os.cpu_count()
    try:
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        memory = None
    gpus = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    gpus = [details.get("device_name", "GPU") for details in gpus]
    return {"cpu": _cpu(), "num_cores": num_cores, "memory_gib": memory, "gpus": gpus}


def _cpu():
    file = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", file.read_text(), re.MULTILINE) if file.exists() else None
    named = found.group(1) if found else _said(["sysctl", "-n", "machdep.cpu.brand_string"])
    return " ".join((named or platform.processor() or platform.machine()).split())


def commit():
    """The commit of this code, "-dirty" added where files differ from it; None where it is no checkout."""
    if not (ROOT / ".git").exists():  # a folder above may be the checkout of something else
        return None
    return _said(["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"])


def _said(command):
    """What a command prints; None where it fails."""
    try:
        return subprocess.run(command, capture_output=True, check=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
