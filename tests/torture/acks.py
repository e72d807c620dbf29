"""The file of acknowledgements: one line for each write, written once the store has answered."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from asyncjobs.job import Job


class AckFile:
    """Where one process says what the store has promised to it. Several may share a file."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def stored(self, job: Job, expires: float) -> None:
        """The store keeps this version of the job, which may be purged after `expires`."""
        self._line(f"stored {job.id} {job.version} {expires}")

    def purging(self, before: float) -> None:
        """A purge is about to begin: from here on nobody was promised what it may delete."""
        self._line(f"purging {before}")

    def close(self) -> None:
        os.close(self._fd)

    def _line(self, text: str) -> None:
        # One call for a line: the order of the calls is what the harness records.
        os.write(self._fd, f"{text}\n".encode())


class Promises:
    """What was promised so far."""

    def __init__(self) -> None:
        self._jobs: dict[str, tuple[int, float]] = {}
        self._purged_before = float("-inf")

    def take(self, line: str) -> None:
        """Add a line of an `AckFile`."""
        match line.split():
            case ["stored", job_id, version, expires]:
                self._jobs[job_id] = (int(version), float(expires))
            case ["purging", before]:
                self._purged_before = max(self._purged_before, float(before))
            case _:
                raise ValueError(f"this is no acknowledgement: {line!r}")

    def broken(self, versions: Mapping[str, int]) -> list[str]:
        """Each promise that a store does not keep which has these versions of these jobs."""
        return [
            f"job {job_id} was acknowledged at version {version}, and "
            + (f"is at {versions[job_id]}" if job_id in versions else "is not there")
            for job_id, (version, expires) in self._jobs.items()
            if versions.get(job_id, 0) < version and expires >= self._purged_before
        ]
