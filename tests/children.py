"""Forked children of the process that tests."""

from __future__ import annotations

import os
from collections.abc import Callable


def told_by_child(function: Callable[[], object]) -> str:
    """What `function` returns, or the error that it raises, in a forked child."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = str(function())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with open(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said
