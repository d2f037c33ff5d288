"""How much memory data may take: told by a file's header, and compared before anything is read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


@cache
def machine_memory() -> int:
    """Count the bytes of memory of this machine, or of the container it is in; no limit if nothing tells."""
    sizes = list(_container_limits(Path("/proc/self/cgroup"), _CGROUPS))
    if hasattr(os, "sysconf"):
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(sizes, default=sys.maxsize)


def check_memory(what: str, size: int, max_memory: int | None, advice: str) -> None:
    """Raise ValueError if `size` bytes are more than `max_memory`, by default half of the machine's."""
    limit = machine_memory() // 2 if max_memory is None else max_memory
    if size > limit:
        whose = "half of this machine's" if max_memory is None else "as max_memory says"
        raise ValueError(
            f"{what} asks for {size} bytes of memory: expected at most {limit}, {whose}; {advice}"
        )


def _container_limits(groups: Path, root: Path) -> Iterator[int]:
    """Give the limits of the control groups this process is in, and of those above them (Linux)."""
    try:
        lines = groups.read_text().splitlines()
    except OSError:  # another system
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":  # version 2
            base, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        here = base / group.lstrip("/")
        for folder in (here, *(above for above in here.parents if above.is_relative_to(base))):
            try:
                yield int((folder / name).read_text())
            except (OSError, ValueError):  # not told at this level, or "max"
                continue
