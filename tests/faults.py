"""System calls of a running process that fail for a while."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pytest


@cache
def can_trace() -> bool:
    """Whether this machine lets us trace processes."""
    tried = ["strace", "-qq", "-o", "/dev/null", "true"]
    try:
        return subprocess.run(tried, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@contextmanager
def failing(pid: int, call: str, error: str) -> Iterator[None]:
    """Within this, each `call` of the process fails with `error`, in all of its threads."""
    if not can_trace():
        pytest.skip("system calls cannot be made to fail here: that takes strace(1) and ptrace")
    inject = ("-e", f"trace={call}", "-e", f"inject={call}:error={error}", "-e", "signal=none")
    command = ["strace", "-f", *inject, "-o", "/dev/null", "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        try:
            assert "attached" in strace.stderr.readline()
            yield
        finally:
            strace.send_signal(signal.SIGINT)
