"""Ways in which a job takes its process down: nothing is cleaned up, and nobody is told."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Callable, Mapping

from asyncjobs.job import Job

#: What comes before the name of the way: a path, and what the ledger of signals has.
PATH, KIND = "/poison", "poison: "
#: Of a process that ends itself.
EXIT_CODE = 7
#: With what a process ends that was killed, or that one of its jobs has taken down.
EXIT_CODES = frozenset({EXIT_CODE, -signal.SIGKILL, -signal.SIGSEGV})


def is_poison(job: Job) -> bool:
    """Whether the job takes each process down that runs it."""
    return job.path.startswith(PATH)


def _exit() -> None:
    os._exit(EXIT_CODE)


def _segfault() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


def _kill() -> None:
    """As the system does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


DEATHS: Mapping[str, Callable[[], None]] = {"exit": _exit, "segfault": _segfault, "kill": _kill}
