"""Runs a program under strace, where that is possible."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .recording import TRACED

_OPTIONS = ("-f", "-y", "-xx", "-qq", "--seccomp-bpf", "-e", "signal=none", "-s", "1000000")


class StraceFailed(Exception):
    """Strace, or the program that it ran, has failed."""


def why_not() -> str | None:
    """Why this machine cannot trace, or None if it can."""
    if shutil.which("strace") is None:
        return "there is no strace: install it (Debian: apt install strace)"
    tried = subprocess.run(
        ["strace", *_OPTIONS, "-e", f"trace={TRACED}", "-o", "/dev/null", "true"],
        capture_output=True,
        text=True,
    )
    if tried.returncode != 0:
        return f"strace cannot trace here: {tried.stderr.strip()}"
    return None


def trace(command: Sequence[str], record: Path) -> None:
    """Run the command to its end, and write down the calls that `recording` reads.

    Raises:
        StraceFailed
    """
    done = subprocess.run(
        ["strace", *_OPTIONS, "-e", f"trace={TRACED}", "-o", str(record), *command],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise StraceFailed(done.stderr.strip() or f"strace ended with {done.returncode}")
