"""The process that holds a run, and whether it still lives."""

from __future__ import annotations

import os
import pathlib
import platform
import sys
import uuid
from collections.abc import Mapping
from typing import Any

_PROC = pathlib.Path("/proc")


def this_process() -> dict[str, Any]:
    """Returns what tells this process from every other, for `is_killed` on any machine.

    A number of a process means something only where it was given. Containers may share the name of
    their machine and number their processes alike, and a number is given again after a while.
    """
    return {
        "host": platform.node(),
        "process": os.getpid(),
        "space": _process_space(),
        "process_started": _start_time(os.getpid()),
    }


def is_killed(holder: Mapping[str, Any]) -> bool:
    """Tells whether a process is known to be dead; if it cannot be seen from here, it is not.

    Args:
      holder: What `this_process` returned there; earlier versions left out all but the first two.
    """
    ours = this_process()
    if any(holder.get(name) != ours[name] for name in ("host", "space")):
        return False
    process = int(holder["process"])
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    started = _start_time(process)
    return started is not None and started != holder.get("process_started")


def _process_space() -> str:
    """Names the kernel's boot and the namespace in which numbers of processes have their meaning.

    Without /proc, as on macOS, there are no such namespaces. Where Linux does not tell, no other
    process has the same name.
    """
    if sys.platform != "linux":
        return ""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return uuid.uuid4().hex


def _start_time(process: int) -> str | None:
    """Returns when a process began, in the kernel's clock ticks; None where nobody tells.

    It is empty for a process that has ended, but whose parent has not asked how.
    """
    try:
        # proc(5): what follows the name, which may hold anything, begins with the third field.
        fields = (_PROC / str(process) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
