"""A model of processes that die under the jobs that they run, with a clock of its own.

Only the processes, the time and the table of jobs are models. What is decided is decided by the
real thing: the transitions of `Job`, `verdict.orphaned`, `is_due`, `Query`, `Slots` and
`starting_order`.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from asyncjobs import transitions
from asyncjobs.engines import queue
from asyncjobs.engines.awaited import Awaited
from asyncjobs.engines.slots import Slot, Slots
from asyncjobs.handler import Handler
from asyncjobs.job import Job, Request, State
from asyncjobs.outcome import Outcome
from asyncjobs.running.threads import Threads
from asyncjobs.store import Query
from asyncjobs.stores import MemoryStore
from asyncjobs.verdict import is_due, orphaned

ROUTE = "work"
#: Seconds that processes which are told to stop leave to what they run.
DRAIN_TIME = 5.0
#: The most seconds until a death is noticed by a living process, and until a process is there anew.
NOTICE, RESTART = 0.3, 2.0
#: The most seconds of the model in which everything must have come to its end.
END_OF_TIME = 1e5


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What there is, and what happens to it. Times are in seconds.

    Attributes:
        poison: jobs of which each takes its process down within `fuse` of its start.
        innocents: jobs that end by themselves, each after a time of its own up to `duration`.
        arrival: all jobs come within so many seconds.
        slots: how many jobs a process runs at a time.
        linked: whether the death of one process stops the others, as that of hypercorn's workers.
        kills: processes that are killed from outside, each within so many seconds after the last.
        told: whether those were told to stop before.
    """

    poison: int = 0
    innocents: int = 50
    arrival: float = 0.0
    duration: float = 2.0
    fuse: float = 1.0
    processes: int = 1
    slots: int = 10
    linked: bool = False
    kills: int = 0
    kill_interval: float = 3.0
    told: bool = False
    max_starts: int = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Lives:
    """How it went.

    Attributes:
        innocents: as they are in the end.
        poison: likewise.
        deaths: how often a process died under a job that had not been told to stop before, by the
            ids of the jobs.
        caused: how many of these deaths each poison job has caused, by its id.
    """

    innocents: Sequence[Job]
    poison: Sequence[Job]
    deaths: Counter[str]
    caused: Counter[str]

    @property
    def lost(self) -> Sequence[Job]:
        """The innocents that have no result of their own."""
        return [job for job in self.innocents if job.state is not State.SUCCEEDED]


@dataclass(slots=True, eq=False)
class Process:
    """A process, or the place of one that is to be started."""

    slots: Slots
    running: dict[str, Slot] = field(default_factory=dict)
    alive: bool = True
    stopping: bool = False


def live(plan: Plan, random: random.Random) -> Lives:
    """Go through it all, until each job is final.

    Raises:
        AssertionError: a process does not start what it could and should, or something never ends.
    """
    world = _World(plan, random)
    world.run()
    jobs = world.jobs.values()
    return Lives(
        innocents=[job for job in jobs if job.id not in world.fuses],
        poison=[job for job in jobs if job.id in world.fuses],
        deaths=world.deaths,
        caused=world.caused,
    )


class _World:
    def __init__(self, plan: Plan, random: random.Random) -> None:
        self.plan = plan
        self.random = random
        self.now = 0.0
        self.jobs: dict[str, Job] = {}
        self.fuses: dict[str, float] = {}
        self.deaths: Counter[str] = Counter()
        self.caused: Counter[str] = Counter()
        self._durations: dict[str, float] = {}
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._looks: set[float] = set()
        self._numbers = count()
        self._processes = [self._started() for _ in range(plan.processes)]

    def run(self) -> None:
        kinds = [True] * self.plan.poison + [False] * self.plan.innocents
        self.random.shuffle(kinds)
        for is_poison in kinds:
            self._in(self.plan.arrival, partial(self._arrive, is_poison))
        at = 0.0
        for _ in range(self.plan.kills):
            at += self.random.uniform(0.0, self.plan.kill_interval)
            self._at(at, self._kill)
        while self._agenda:
            self.now, _, happen = heapq.heappop(self._agenda)
            assert self.now < END_OF_TIME, f"there is no end to {self.jobs}"
            happen()
            for process in self._processes:
                self._look(process)
        assert all(job.state.is_final for job in self.jobs.values()), self.jobs

    # What happens.

    def _arrive(self, is_poison: bool) -> None:
        number = next(self._numbers)
        job = Job(f"{number:032x}", ROUTE, "/", created=self.now, due=self.now, repeatable=True)
        if is_poison:
            self.fuses[job.id] = self.plan.fuse
        else:
            self._durations[job.id] = self.random.uniform(0.0, self.plan.duration)
        self.jobs[job.id] = job

    def _end(self, process: Process, started: Job) -> None:
        """A handler comes to its end, if its process still runs it."""
        if self._runs(process, started):
            self.jobs[started.id] = transitions.finish(self.jobs[started.id], 200, self.now)
            process.running.pop(started.id).give_back()
            self._end_drain(process)

    def _blow_up(self, process: Process, started: Job) -> None:
        if self._runs(process, started):
            self.caused[started.id] += not process.stopping
            self._die(process)

    def _kill(self) -> None:
        """Somebody kills a process, and may have told it to stop."""
        living = [process for process in self._processes if process.alive]
        if living:
            victim = self.random.choice(living)
            victim.stopping = victim.stopping or self.plan.told
            self._die(victim)

    def _die(self, process: Process) -> None:
        process.alive = False
        others = [other for other in self._processes if other.alive]
        if self.plan.linked:
            for other in others:
                if not other.stopping:
                    other.stopping = True
                    self._in_exactly(DRAIN_TIME, partial(self._end_drain, other, late=True))
                self._end_drain(other)
        if not self.plan.linked:
            self._in(RESTART, partial(self._restart, [process]))
            if others:
                self._in(NOTICE, partial(self._rescue, process))
        elif not others:
            self._in(RESTART, partial(self._restart, list(self._processes)))

    def _end_drain(self, process: Process, *, late: bool = False) -> None:
        """A process that was told to stop does so once nothing runs in it, or when it is time."""
        if process.alive and process.stopping and (late or not process.running):
            for job_id in process.running:
                self.jobs[job_id] = transitions.release(self.jobs[job_id], "given back")
            process.running.clear()
            self._die(process)

    def _rescue(self, dead: Process) -> None:
        """Somebody who lives decides about what a dead process has left."""
        for job_id in dead.running:
            self.deaths[job_id] += not dead.stopping
            self.jobs[job_id], _ = orphaned(
                self.jobs[job_id],
                self.now,
                self.random,
                blamed=not dead.stopping,
                max_starts=self.plan.max_starts,
            )
        dead.running.clear()

    def _restart(self, dead: Sequence[Process]) -> None:
        for process in dead:
            self._rescue(process)
            self._processes[self._processes.index(process)] = self._started()

    # What a process does.

    def _look(self, process: Process) -> None:
        """As the engine does: see `LocalEngine._start_queued`."""
        free = process.slots.free(HANDLER)
        if not process.alive or process.stopping or not free:
            return
        suspects, healthy = self._queued(suspects=True), self._queued(suspects=False)
        for job in queue.starting_order(suspects, healthy[:free], self.random):
            slot = process.slots.take(HANDLER, suspect=job.is_suspect)
            if slot is not None:
                self._start(process, job, slot)
        self._check(process, suspects)

    def _queued(self, *, suspects: bool) -> list[Job]:
        """The due jobs, oldest due first; there is a look at the others when the next one is."""
        query = Query(states=frozenset({State.QUEUED}), routes=_ROUTES, suspects=suspects)
        found = sorted(filter(query.matches, self.jobs.values()), key=lambda job: job.due)
        due = [job for job in found if is_due(job, self.now)]
        if len(due) < len(found):
            self._look_again(found[len(due)].due)
        return due[: queue.SUSPECTS] if suspects else due

    def _start(self, process: Process, job: Job, slot: Slot) -> None:
        started = self.jobs[job.id] = transitions.start(job, "a process", self.now)
        process.running[job.id] = slot
        if job.id in self.fuses:
            self._in(self.fuses[job.id], partial(self._blow_up, process, started))
        else:
            self._in_exactly(self._durations[job.id], partial(self._end, process, started))

    def _check(self, process: Process, suspects: Sequence[Job]) -> None:
        """What must hold after each look."""
        running = [self.jobs[job_id] for job_id in process.running]
        beside = [job for job in running if job.is_suspect]
        assert len(beside) <= 1, f"these suspects run side by side: {beside}"
        assert beside or not suspects, f"these suspects are let wait by others: {suspects}"
        waiting = self._queued(suspects=False)
        assert not (waiting and process.slots.free(HANDLER)), f"these have to wait: {waiting}"

    def _look_again(self, at: float) -> None:
        if at not in self._looks:
            self._looks.add(at)
            self._at(at, lambda: None)

    def _runs(self, process: Process, started: Job) -> bool:
        return process.alive and started.id in process.running

    def _started(self) -> Process:
        return Process(Slots(self.plan.slots, Threads(1), Awaited(MemoryStore(), lambda: None)))

    def _in(self, most: float, happen: Callable[[], None]) -> None:
        self._in_exactly(self.random.uniform(0.0, most), happen)

    def _in_exactly(self, seconds: float, happen: Callable[[], None]) -> None:
        self._at(self.now + seconds, happen)

    def _at(self, time: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (time, next(self._numbers), happen))


async def _perform(request: Request) -> Outcome:
    raise AssertionError("a model performs nothing")


_ROUTES = frozenset({ROUTE})
HANDLER = Handler(ROUTE, _perform, threaded=False, timeout=None, concurrency=None, ttl=1.0)
