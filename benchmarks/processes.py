"""What our server and the processes beside it use, as the kernel counts it (proc(5))."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def used() -> dict[str, float]:
    """Return the seconds of processor time by process: server, worker, and others of ours."""
    found: dict[str, float] = {}
    for name, process in _ours():
        fields = _fields(process)
        found[name] = found.get(name, 0.0) + (int(fields[11]) + int(fields[12])) / _TICKS
    return found


def most_memory() -> dict[str, float]:
    """Return the most memory that each had resident, in MB."""
    found: dict[str, float] = {}
    for name, process in _ours():
        lines = (process / "status").read_text(encoding="ascii").splitlines()
        most = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0) / 1000
        found[name] = max(found.get(name, 0.0), most)
    return found


def _ours() -> Iterator[tuple[str, Path]]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            if b"cdp" in command and _descends(process):
                yield command[command.index(b"cdp") + 1].decode(), process
        except OSError:
            continue  # it ended


def _descends(process: Path) -> bool:
    """True for a process that this one, or one of its own, started."""
    while process.name not in {"0", "1"}:
        if process.name == str(os.getpid()):
            return True
        process = process.parent / _fields(process)[1]
    return False


def _fields(process: Path) -> list[str]:
    """Return the fields of ``stat`` after the name."""
    return (process / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
