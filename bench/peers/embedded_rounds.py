"""Each peer in one program, in turn with ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from . import redis_server
from .pairing import paired
from .peers import LOG, OURS, Keeper, Peer
from .processes import ROOT, Processes
from .table import Round, Row

#: Seconds that a program may take.
PATIENCE = 120.0


class EmbeddedPairs:
    """The programs of a peer and ours, by turns."""

    def __init__(self, jobs: int, at_a_time: int, rounds: int, said: Callable[[str], None]) -> None:
        self._arguments = (str(jobs), str(at_a_time))
        self._rounds = rounds
        self._say = said
        self._baseline: list[Round] = []

    def baseline(self) -> Row:
        rounds = tuple(self._baseline)
        return Row(f"{OURS.title}, {LOG.title}", LOG.durable, rounds, rounds)

    def peer(self, peer: Peer, keeper: Keeper, python: Path) -> Row:
        """Raises:
        RuntimeError: its program does not do its jobs.
        """
        row = paired(
            f"{peer.title}, {keeper.title}",
            keeper.durable,
            self._rounds,
            (
                lambda: self._round(OURS, LOG, Path(sys.executable)),
                lambda: self._round(peer, keeper, python),
            ),
            self._say,
        )
        self._baseline += row.ours
        return row

    def _round(self, peer: Peer, keeper: Keeper, python: Path) -> Round:
        command = [str(python), "-m", f"bench.peers.embedded.{peer.name}", *self._arguments]
        with tempfile.TemporaryDirectory() as folder, Processes(Path(folder)) as processes:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            if keeper.redis is not None:
                environment |= redis_server.start(processes, keeper.redis)
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"its program failed: {done.stderr[-2000:]}")
        return parse(done.stdout)


def parse(said: str) -> Round:
    """What `embedded.measuring` prints, which may come after what a library prints."""
    found = json.loads(said.splitlines()[-1])
    return Round(found["rate"], found["cpu"], 0, (), tuple(found["results"]))
