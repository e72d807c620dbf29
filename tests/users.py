"""Other users of the machine, whom root can play."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from children import told_by_child

MALLORY = 61_234
#: Whose the store is.
OWNER = 61_235

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can play other users")


def as_user(uid: int, function: Callable[[], object]) -> str:
    """What `function` returns, or the error that it raises, in a process of another user."""

    def run() -> object:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        return function()

    return told_by_child(run)


@contextmanager
def reachable() -> Iterator[Path]:
    """Where to keep a store, in a folder of its own as a server's should be. Other users can come
    to that folder: not so to pytest's."""
    with tempfile.TemporaryDirectory() as parent:
        os.chmod(parent, 0o711)
        folder = Path(parent) / "jobs"
        folder.mkdir(mode=0o700)
        yield folder / "jobs.db"


def give_away(path: Path) -> None:
    """The store and its folder are another user's from now on."""
    for file in (path.parent, *path.parent.rglob("*")):
        os.chown(file, OWNER, OWNER, follow_symlinks=False)
