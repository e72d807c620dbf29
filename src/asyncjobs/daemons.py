"""The threads of our own, which no process waits for when it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from .errors import SetupError

#: What is used up where no thread can be started, and how there are more.
THREAD_LIMIT = (
    "this user or this container has as many processes and threads as it may. End some, or raise "
    "the limit: RLIMIT_NPROC (ulimit -u), TasksMax in systemd, pids.max of the control group"
)


def start_daemon(
    name: str,
    target: Callable[..., object],
    *args: Any,
    error: type[SetupError] = SetupError,
) -> threading.Thread:
    """Call `target` with `args` in a thread of its own.

    Raises:
        SetupError: the system gives us none; it is an `error`, and says which limits there are.
    """
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as refused:
        raise error(f"the thread {name} cannot be started ({refused}): {THREAD_LIMIT}") from refused
    return thread
