"""Each peer over HTTP, in turn with ours."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.client import Way

from . import redis_server
from .driving import measure, warm_up
from .pairing import paired
from .peers import AT_ONCE, LOG, OURS, Keeper, Peer
from .processes import Processes, free_port
from .table import Round, Row


@dataclass(frozen=True)
class Load:
    """How much is asked for in each round: see `driving.measure`."""

    jobs: int
    connections: int
    rate: float
    paced: int

    @property
    def warming(self) -> Load:
        """What opens the connections, and has the programs loaded what they need."""
        return Load(self.connections * 4, self.connections, self.rate, 0)


@dataclass(frozen=True)
class Served:
    """A peer that answers."""

    port: int
    cpu: Callable[[], float]

    def round(self, way: Way, load: Load) -> Round:
        return measure(
            self.port,
            self.cpu,
            way,
            jobs=load.jobs,
            connections=load.connections,
            rate=load.rate,
            paced=load.paced,
        )


@contextmanager
def served(peer: Peer, keeper: Keeper, python: Path, folder: Path) -> Iterator[Served]:
    """The peer with its worker and its Redis.

    Raises:
        RuntimeError: it does not come up, or does not do its jobs.
    """
    folder.mkdir()
    # As it comes, hypercorn would hang up after 1,000 requests.
    Path(folder, "hypercorn.toml").write_text("keep_alive_max_requests = 1000000\n")
    port = free_port()
    with Processes(folder) as processes:
        environment = {}
        if keeper.redis is not None:
            environment = redis_server.start(processes, keeper.redis)
        if peer.worker:
            processes.start([str(python), *peer.worker], **environment)
        web = [argument.format(app=peer.app, port=port) for argument in peer.web]
        processes.start([str(python), *web], **environment)
        processes.until(lambda: warm_up(port, Way.POLLS))
        yield Served(port, processes.cpu)


class Pairs:
    """Ours, which is there all the time, and what has been measured beside it."""

    def __init__(self, folder: Path, load: Load, rounds: int, said: Callable[[str], None]) -> None:
        self._folder = folder
        self._load = load
        self._rounds = rounds
        self._say = said
        self._baseline: list[Round] = []

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        ours = served(OURS, LOG, Path(sys.executable), self._folder / "ours")
        self._ours = self._stack.enter_context(ours)
        self._ours.round(Way.POLL_WAITS, self._load.warming)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def ours(self) -> list[Row]:
        """The other ways to our own results, and then ours of all pairs."""
        rows = [self._row(OURS, LOG, self._ours, Way.POLLS)]
        if warm_up(self._ours.port, Way.SUBMISSION_WAITS):
            rows.append(self._row(OURS, AT_ONCE, self._ours, Way.SUBMISSION_WAITS))
        else:
            self._say(f"{OURS.title}, {Way.SUBMISSION_WAITS.value}: it does not wait")
        return rows

    def baseline(self) -> Row:
        rounds = tuple(self._baseline)
        return Row(f"{OURS.title}, {Way.POLL_WAITS.value}", LOG.durable, rounds, rounds)

    def peer(self, peer: Peer, keeper: Keeper, python: Path) -> Row:
        folder = self._folder / f"{peer.name}-{peer.keepers.index(keeper)}"
        with served(peer, keeper, python, folder) as theirs:
            theirs.round(Way.POLLS, self._load.warming)
            return self._row(peer, keeper, theirs, Way.POLLS)

    def _row(self, peer: Peer, keeper: Keeper, theirs: Served, way: Way) -> Row:
        kept = way.value if peer is OURS else keeper.title
        title = f"{peer.title}, {kept}"
        row = paired(
            title,
            keeper.durable,
            self._rounds,
            (
                lambda: self._ours.round(Way.POLL_WAITS, self._load),
                lambda: theirs.round(way, self._load),
            ),
            self._say,
        )
        self._baseline += row.ours
        return row
