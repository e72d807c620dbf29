"""A state machine of hypothesis that uses a store in every way, and compares it with the model.

Each rule makes calls on one or several handles of the store, one after the other or all at once.
The model is then the set of those worlds that explain every outcome; it is one world again as soon
as what was uncertain was read. A step after which there is none has found a bug of the store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asyncjobs import transitions
from asyncjobs.job import Job, Request, State
from asyncjobs.key import Key
from asyncjobs.store import ANYONE, Owner, Query, Store

from .changes import CHANGES, Facts, changed
from .faults import Fault
from .handles import TURNS, Handles, Kind
from .model import CANCELLED, Call, Outcome, World, explain, told

MAX_HANDLES = 3
ROUTES = ("report", "\N{SNOWMAN}")
OWNERS = (None, "", "ada", "bob")
KEYS = [
    Key(digest * 16, fingerprint) for digest in (b"a", b"b") for fingerprint in (None, b"x" * 16)
]


@dataclass(frozen=True, slots=True)
class Intent:
    """What a caller wants of a job.

    Attributes:
        what: a transition, or the name of a method of `Store`.
        handle: on which handle, counted round and round.
        age: how many versions the caller is behind.
        wait: seconds until the job is due if it is given back, or until a purge.
        erase: whether its request is erased with the change.
    """

    what: str
    handle: int
    age: int
    wait: float
    fault: Fault | None
    cancel_after: int | None
    erase: bool


# hypothesis tries the first of several to make an example simpler.
numbers = st.integers(0, 11)
times = st.sampled_from([0.0, 0.5, 1.0, 10.0])
faults = st.sampled_from([None, None, None, *Fault])
cancellations = st.sampled_from([None, None, None, *range(TURNS)])
owners = st.sampled_from([ANYONE, *OWNERS])
programs = st.sampled_from([None, "app", "other"])
intents = st.builds(
    Intent,
    what=st.sampled_from([*CHANGES, "get", "result", "find", "purge", "add"]),
    handle=numbers,
    age=st.sampled_from([0, 0, 0, 1, 2]),
    wait=times,
    fault=faults,
    cancel_after=cancellations,
    erase=st.sampled_from([False, False, True]),
)
nothing = st.none() | st.none() | st.none()
queries = st.builds(
    Query,
    states=nothing | st.frozensets(st.sampled_from(State), max_size=3),
    routes=nothing | st.frozensets(st.sampled_from([*ROUTES, "other"]), max_size=2),
    not_routes=nothing | st.frozensets(st.sampled_from([*ROUTES, "other"]), max_size=2),
    program=programs,
    suspects=nothing | st.booleans(),
    owner=st.sampled_from([ANYONE, ANYONE, ANYONE, *OWNERS]),
    cancel_requested=nothing | st.booleans(),
    limit=st.just(100) | st.integers(0, 4),
    skip=st.sampled_from([0, 0, 0, 1, 2]),
)


def _change(name: str) -> Any:
    """A rule: one caller makes a transition, based on the newest version or on a stale one."""

    def change(self: StoreMachine, job: int, intent: Intent) -> None:
        what, call = self._call(self._pick(job), replace(intent, what=name))
        self.counts[what] += 1
        self._do(call)

    change.__name__ = name
    return rule(job=numbers, intent=intents)(change)


class StoreMachine(RuleBasedStateMachine):
    """One kind of store against the model.

    Attributes:
        wrap: plants a bug in a store, or none.
        counts: how often each thing was done.
    """

    kind: ClassVar[Kind]
    wrap: ClassVar[Callable[[Store], Store]]
    counts: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self._folder = TemporaryDirectory(prefix="asyncjobs-")
        self._handles = Handles(self.kind, Path(self._folder.name), type(self).wrap)
        self._handles.open()
        self._worlds = [World()]
        self._now = 0.0
        self._serial = 0
        # What each job was after each step, the newest first.
        self._versions: dict[str, list[Job]] = {}

    @rule(
        handle=numbers,
        route=st.sampled_from(ROUTES),
        owner=st.sampled_from(OWNERS),
        started=st.booleans(),
        due=times,
        program=programs,
        ttl=times,
        crashes=numbers,
        cancel_at=nothing | times,
        key=nothing | st.sampled_from(KEYS),
        fault=faults,
        cancel_after=cancellations,
    )
    def add(
        self,
        handle: int,
        route: str,
        owner: str | None,
        started: bool,
        due: float,
        program: str | None,
        ttl: float,
        crashes: int,
        cancel_at: float | None,
        key: Key | None,
        fault: Fault | None,
        cancel_after: int | None,
    ) -> None:
        """A new job, started or queued."""
        self.counts["add" if key is None else "add with a key"] += 1
        more: dict[str, Any] = {"program": program, "ttl": ttl, "crashes": crashes}
        job = self._new_job(route, owner, due, cancel_at=cancel_at, **more)
        if started:
            job = transitions.start(job, self._worker(handle), self._now)
        index = self._index(handle)
        self._add(Call(index, "add", (job, self._request(), key), fault, cancel_after))

    @rule(handle=numbers, key=st.sampled_from(KEYS), fault=faults)
    def keyed(self, handle: int, key: Key, fault: Fault | None) -> None:
        """Whose a key is."""
        self.counts["keyed"] += 1
        self._do(Call(self._index(handle), "keyed", (key,), fault))

    @initialize(count=st.integers(1, 3))
    def first_jobs(self, count: int) -> None:
        """There is something to work with from the beginning."""
        for _ in range(count):
            self._add(Call(0, "add", (self._new_job(), self._request())))

    # A rule for each transition, so that they are most of what is done.
    start = _change("start")
    report = _change("report")
    ask_to_cancel = _change("ask_to_cancel")
    release = _change("release")
    rescue = _change("rescue")
    postpone = _change("postpone")
    finish = _change("finish")
    fail = _change("fail")
    cancel = _change("cancel")
    interrupt = _change("interrupt")
    give_up = _change("give_up")
    retry = _change("retry")

    @rule(job=numbers, handle=numbers, fault=faults)
    def add_again(self, job: int, handle: int, fault: Fault | None) -> None:
        """A job whose id may be taken."""
        self.counts["add again"] += 1
        first = self._versions[self._pick(job)][-1]
        self._do(Call(self._index(handle), "add", (first, self._request()), fault))

    @rule(job=numbers, rivals=st.lists(intents, min_size=2, max_size=4))
    def rivals(self, job: int, rivals: list[Intent]) -> None:
        """Several callers who want something of the same job at the same time."""
        self.counts["rivals"] += 1
        job_id = self._pick(job)
        self._do(*[self._call(job_id, intent)[1] for intent in rivals])

    @rule(job=numbers, handle=numbers, owner=owners, fault=faults)
    def read(self, job: int, handle: int, owner: Owner, fault: Fault | None) -> None:
        """All that there is of one job, read by its owner or by somebody else."""
        self.counts["read"] += 1
        index, job_id = self._index(handle), self._pick(job)
        self._do(
            Call(index, "get", (job_id, owner), fault),
            Call(index, "result", (job_id, owner), fault),
            Call(index, "request", (job_id,), fault),
            Call(index, "response", (job_id,), fault),
        )

    @rule(handle=numbers, query=queries, worker=nothing | numbers, fault=faults)
    def find(self, handle: int, query: Query, worker: int | None, fault: Fault | None) -> None:
        """A query with any restrictions."""
        self.counts["find"] += 1
        query = replace(query, worker=None if worker is None else self._worker(worker))
        self._do(Call(self._index(handle), "find", (query,), fault))

    @rule(handle=numbers, query=queries, job=nothing | numbers, fault=faults)
    def count(self, handle: int, query: Query, job: int | None, fault: Fault | None) -> None:
        """How many a query asks for, or of those that are ahead of a job."""
        self.counts["count"] += 1
        if job is not None:
            query = replace(query, ahead_of=self._versions[self._pick(job)][0])
        self._do(
            Call(self._index(handle), "count", (query,), fault),
            Call(self._index(handle), "find", (query,), fault),
        )

    @rule(handle=numbers, before=times, program=programs, limit=st.integers(0, 4), fault=faults)
    def overdue(
        self, handle: int, before: float, program: str | None, limit: int, fault: Fault | None
    ) -> None:
        """The jobs whose time to be cancelled has come."""
        self.counts["overdue"] += 1
        self._do(Call(self._index(handle), "overdue", (before, program, limit), fault))

    @rule(handle=numbers, fault=faults)
    def orphans(self, handle: int, fault: Fault | None) -> None:
        """The jobs of dead workers, and of no others."""
        self.counts["orphans"] += 1
        self._do(Call(self._index(handle), "orphans", (), fault))

    @rule(
        handle=numbers,
        seconds=times,
        fault=faults,
        job=numbers,
        others=st.lists(intents, max_size=2),
    )
    def purge(
        self, handle: int, seconds: float, fault: Fault | None, job: int, others: list[Intent]
    ) -> None:
        """Time passes, and jobs expire, one of which others may want something of."""
        self.counts["purge"] += 1
        self._now += seconds
        job_id = self._pick(job)
        self._do(
            *[self._call(job_id, other)[1] for other in others],
            Call(self._index(handle), "purge", (self._now,), fault),
        )

    @rule(job=numbers, intent=intents)
    def everybody_hears(self, job: int, intent: Intent) -> None:
        """Who listens, on whichever handle, hears of a change that was acknowledged."""
        self.counts["everybody hears"] += 1
        _, call = self._call(self._pick(job), replace(intent, fault=None, cancel_after=None))
        self._explain([(call, self._handles.heard(call))])

    @precondition(lambda self: self.kind.die and len(self._handles) < MAX_HANDLES)
    @rule()
    def another_process(self) -> None:
        """One more handle on the same files."""
        self.counts["another process"] += 1
        self._handles.open()

    @precondition(lambda self: self.kind.die)
    @rule(handle=numbers, cleanly=st.booleans())
    def process_ends(self, handle: int, cleanly: bool) -> None:
        """A handle is closed, or dies; the store is opened again if it was the last one."""
        self.counts["close" if cleanly else "die"] += 1
        dead = frozenset({self._worker(handle)})
        self._worlds = [replace(world, dead=world.dead | dead) for world in self._worlds]
        end = self._handles.close if cleanly else self._handles.die
        end(self._index(handle))
        if not self._handles:
            self._handles.open()

    @invariant()
    def every_handle_tells_what_the_model_says(self) -> None:
        """Each job with its request and its response, and the list of all jobs."""
        for handle in range(len(self._handles)):
            calls = [
                Call(handle, name, (job_id,))
                for job_id in self._versions
                for name in ("result", "request")
            ]
            calls.append(Call(handle, "find", (Query(limit=1000),)))
            for made in zip(calls, self._handles.in_turn(calls), strict=True):
                self._explain([made])
        for kept in self._worlds[0].kept:
            if kept.job not in (versions := self._versions[kept.job.id]):
                versions.insert(0, kept.job)

    def teardown(self) -> None:
        self._handles.close_all()
        self._folder.cleanup()

    def _new_job(
        self, route: str = ROUTES[0], owner: str | None = None, due: float = 0.0, **fields: Any
    ) -> Job:
        job_id = f"{len(self._versions) + 1:032x}"
        return Job(job_id, route, f"/{route}", self._now, owner, due=self._now + due, **fields)

    def _add(self, call: Call) -> None:
        job = call.args[0]
        self._versions[job.id] = [job]
        self._do(call)

    def _do(self, *calls: Call) -> None:
        """Make these calls at once."""
        outcomes = self._handles.at_once(calls)
        made = list(zip(calls, outcomes, strict=True))
        for call, outcome in made:
            note(f"{call} -> {told(outcome)}")
        self._explain(made)
        for call, outcome in made:
            if outcome is CANCELLED and call.name in ("add", "replace"):
                # On the same handle: there, a read tells once and for all what became of it.
                self._do(Call(call.handle, "get", (call.args[0].id,)))

    def _explain(self, made: list[tuple[Call, Outcome]]) -> None:
        explained = explain(self._worlds, made)
        if not explained:
            history = "; ".join(f"{call} -> {told(outcome)}" for call, outcome in made)
            raise AssertionError(f"no order of these calls explains their outcomes: {history}")
        self._worlds = explained

    def _call(self, job_id: str, intent: Intent) -> tuple[str, Call]:
        """What the intent comes to, given what is known of the job, and what to name that."""
        index, versions = self._index(intent.handle), self._versions[job_id]
        call = partial(Call, index, fault=intent.fault, cancel_after=intent.cancel_after)
        match intent.what:
            case "get" | "result" as name:
                return name, call(name, (job_id,))
            case "find":
                return "find", call("find", (Query(),))
            case "add":
                return "add a taken id", call("add", (versions[-1], self._request()))
            case "purge":
                # Nothing would tell how far one came that nobody waited for.
                return "purge", call("purge", (self._now + intent.wait,), cancel_after=None)
        self._serial += 1
        facts = Facts(self._worker(index), self._now, intent.wait, self._serial)
        change, *args = changed(versions[intent.age :] or versions, intent.what, facts)
        if intent.erase:
            change = f"{change} and erase"
        return change, call("replace", tuple(args), options={"erase": intent.erase})

    def _index(self, handle: int) -> int:
        return handle % len(self._handles)

    def _worker(self, handle: int) -> str:
        return self._handles.worker(self._index(handle))

    def _pick(self, job: int) -> str:
        """The id of a job: 0 is the newest."""
        ids = list(self._versions)
        return ids[-1 - job % len(ids)]

    def _request(self) -> Request:
        self._serial += 1
        return Request("POST", "/", body=b"%d" % self._serial)
