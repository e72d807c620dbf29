"""A real PostgreSQL, for one module of tests."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

import pytest

from server import DEADLINE, until

_DEBIANS = Path("/usr/lib/postgresql")


class Postgres:
    """One PostgreSQL that trusts everybody. Used as a context manager.

    Attributes:
        url: of a database that has nothing in it.
    """

    def __init__(self) -> None:
        path = os.pathsep.join(
            [os.environ.get("PATH", ""), *map(str, sorted(_DEBIANS.glob("*/bin"))[::-1])]
        )
        found = [shutil.which(name, path=path) for name in ("initdb", "postgres")]
        if None in found:
            pytest.skip("PostgreSQL is missing")
        self._initdb, self._postgres = map(str, found)

    def __enter__(self) -> Self:
        # Not below pytest's folders, which are for its own user alone.
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._as_user = _user_for(self._folder)
        data = self._folder / "data"
        self._run([self._initdb, "-D", data, "-A", "trust", "-U", "postgres", "--no-sync"])
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = int(free.getsockname()[1])
        self.url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        options = [f"-p{port}", "-h127.0.0.1", f"-k{self._folder}", "-F"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._postgres, "-D", data, *options],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **self._as_user,
            )
        until(self._is_ready, "the start of PostgreSQL")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(DEADLINE)
        shutil.rmtree(self._folder)

    def _run(self, command: list[Any]) -> None:
        subprocess.run(command, cwd=self._folder, check=True, capture_output=True, **self._as_user)

    def _is_ready(self) -> bool:
        log = (self._folder / "log").read_text(errors="replace")
        if self._process.poll() is not None:
            raise RuntimeError(f"PostgreSQL has ended:\n{log}")
        return "database system is ready to accept connections" in log


def _user_for(folder: Path) -> dict[str, Any]:
    """PostgreSQL does not run as root: whom it runs as there."""
    if os.geteuid() != 0:
        return {}
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        user = pwd.getpwnam("nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}
