"""Who holds a lock, as far as the system tells: Linux does, of the processes that we can see."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

#: All locks of the system: proc_locks(5).
LOCKS = Path("/proc/locks")


def kept_locked(path: Path) -> str | None:
    """Who has locked the file at `path`, as "process 7 (sqlite3) keeps it locked"; None if the
    system does not tell."""
    # In the shared memory are the locks of who has a log.
    holders = holders_of([f"{path}{suffix}" for suffix in ("", "-shm", "-journal")])
    keep = "keep" if len(holders) > 1 else "keeps"
    return f"{' and '.join(holders)} {keep} {path} locked" if holders else None


def holders_of(paths: Iterable[str], locks: Path | None = None) -> list[str]:
    """The other processes that hold a lock on one of the files, each with its name; those that
    only read are left out if another does more. Empty if the system does not tell."""
    files = {file for file in map(_as_listed, paths) if file is not None}
    try:
        lines = (locks or LOCKS).read_text(errors="replace").splitlines()
    except OSError:
        return []
    held = [lock for lock in _parse(lines) if lock.file in files and lock.pid != os.getpid()]
    exclusive = [lock for lock in held if lock.is_exclusive]
    return [_described(pid) for pid in sorted({lock.pid for lock in exclusive or held})]


class _Held(NamedTuple):
    pid: int
    file: str
    is_exclusive: bool


def _as_listed(path: str) -> str | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"


def _parse(lines: Iterable[str]) -> Iterator[_Held]:
    """``1: FLOCK  ADVISORY  WRITE 7603 fe:00:2146335 0 EOF``; who waits has ``->`` behind the
    number, and a process that cannot be seen from here the pid 0 or -1."""
    for line in lines:
        fields = line.split()
        with suppress(ValueError, IndexError):
            if fields[1] != "->" and (pid := int(fields[4])) > 0:
                yield _Held(pid, fields[5], fields[3] == "WRITE")


def _described(pid: int) -> str:
    try:
        name = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return f"process {pid}"
    return f"process {pid} ({name})" if name.isprintable() else f"process {pid}"
