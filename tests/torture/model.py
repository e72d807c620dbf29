"""What a store must be: a plain model of it, and which of its histories explain what was seen."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as with_
from typing import Any, Final, NamedTuple

from asyncjobs.errors import Conflict, JobNotFound, KeyReused, StoreUnavailable
from asyncjobs.job import Job, Request, Response, State
from asyncjobs.key import Key
from asyncjobs.store import ANYONE, Orphan, Owner, Query

from .faults import Fault


class _Cancelled(enum.Enum):
    CANCELLED = "cancelled"

    def __repr__(self) -> str:
        return "CANCELLED"


#: The outcome of a call whose caller was cancelled: it may have been applied, or not.
CANCELLED: Final = _Cancelled.CANCELLED
#: What a call returned, the type of what it raised, or `CANCELLED`.
Outcome = Any

# A store applies those that are made on one handle in the order of their calls.
_ORDERED = frozenset({"add", "replace"})


class Kept(NamedTuple):
    """All that a store has of one job; the request is None once it is erased."""

    job: Job
    request: Request | None
    response: Response | None
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class World:
    """A model of a store: its methods are those of `Store`, and return the world after the call.

    Attributes:
        kept: in the order that they were added.
        dead: the workers that are dead.
    """

    kept: tuple[Kept, ...] = ()
    dead: frozenset[str] = frozenset()

    def add(self, job: Job, request: Request, key: Key | None = None) -> tuple[World, Outcome]:
        if key is not None and (holder := self.keyed(key)[1]) is not None:
            return self, holder
        if self._kept(job.id) is not None:
            return self, Conflict
        others = self.kept
        if key is not None:  # which was somebody's in vain
            others = tuple(
                kept._replace(key=None) if kept.key and kept.key.digest == key.digest else kept
                for kept in others
            )
        return with_(self, kept=(*others, Kept(job, request, None, key))), job

    def keyed(self, key: Key) -> tuple[World, Outcome]:
        for kept in self.kept:
            if kept.key is not None and kept.key.digest == key.digest:
                try:
                    is_taken = key.is_taken_by(kept.job.state, kept.key.fingerprint)
                except KeyReused:
                    return self, KeyReused
                return self, kept.job if is_taken else None
        return self, None

    def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> tuple[World, Outcome]:
        kept = self._kept(old.id)
        if kept is None or kept.job.version != old.version:
            return self, Conflict
        changed = kept._replace(
            job=new,
            request=None if erase else kept.request,
            response=response if new.state.is_final else None,
        )
        return with_(self, kept=tuple(changed if k is kept else k for k in self.kept)), None

    def purge(self, before: float) -> tuple[World, Outcome]:
        left = tuple(
            kept
            for kept in self.kept
            if not kept.job.state.is_final or kept.job.expires is None or kept.job.expires >= before
        )
        return with_(self, kept=left), len(self.kept) - len(left)

    def get(self, job_id: str, owner: Owner = ANYONE) -> tuple[World, Outcome]:
        kept = self._kept(job_id, owner)
        return self, JobNotFound if kept is None else kept.job

    def request(self, job_id: str) -> tuple[World, Outcome]:
        kept = self._kept(job_id)
        return self, JobNotFound if kept is None or kept.request is None else kept.request

    def response(self, job_id: str) -> tuple[World, Outcome]:
        kept = self._kept(job_id)
        return self, JobNotFound if kept is None or kept.response is None else kept.response

    def result(self, job_id: str, owner: Owner = ANYONE) -> tuple[World, Outcome]:
        kept = self._kept(job_id, owner)
        return self, JobNotFound if kept is None else (kept.job, kept.response)

    def find(self, query: Query) -> tuple[World, Outcome]:
        found = [kept.job for kept in self.kept if query.matches(kept.job)]
        found.sort(key=lambda job: job.due)
        if query.ahead_of is not None:
            end = self._place(query.ahead_of)
            found = [job for job in found if self._place(job) < end]
        return self, found[query.skip : query.skip + query.limit]

    def overdue(self, before: float, program: str | None, limit: int) -> tuple[World, Outcome]:
        wanted = Query(program=program, cancel_requested=False)
        times = [
            (kept.job.cancel_at, kept.job)
            for kept in self.kept
            if kept.job.cancel_at is not None and not kept.job.state.is_final
        ]
        times.sort(key=lambda each: each[0])
        found = [job for at, job in times if at < before and wanted.matches(job)]
        return self, found[:limit]

    def count(self, query: Query) -> tuple[World, Outcome]:
        return self, len(self.find(query)[1])

    def orphans(self) -> tuple[World, Outcome]:
        """By their ids, as their order is not promised."""
        # None of these workers was told to stop.
        found = [Orphan(kept.job, blamed=True) for kept in self.kept if self._is_orphan(kept.job)]
        return self, sorted(found, key=lambda orphan: orphan.job.id)

    def _kept(self, job_id: str, owner: Owner = ANYONE) -> Kept | None:
        for kept in self.kept:
            if kept.job.id == job_id:
                return kept if owner is ANYONE or kept.job.owner == owner else None
        return None

    def _place(self, job: Job) -> tuple[float, int]:
        ids = [kept.job.id for kept in self.kept]
        return job.due, ids.index(job.id) if job.id in ids else -1

    def _is_orphan(self, job: Job) -> bool:
        return job.state is State.RUNNING and job.worker in self.dead


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a store.

    Attributes:
        handle: the number of the open store that it is made on.
        cancel_after: the caller is cancelled after so many turns of the loop, unless it has its
            answer by then.
        options: the arguments that are given by name.
    """

    handle: int
    name: str
    args: tuple[Any, ...]
    fault: Fault | None = None
    cancel_after: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        options = [f"{name}={told(value)}" for name, value in self.options.items()]
        args = ", ".join([*map(told, self.args), *options])
        extras = {"fault": self.fault, "cancelled after": self.cancel_after}
        tail = "".join(f", {name} {value}" for name, value in extras.items() if value is not None)
        return f"[{self.handle}] {self.name}({args}){tail}"

    def worlds_after(self, world: World, outcome: Outcome) -> list[World]:
        """What `world` may be after this call, if it had this outcome; none if it cannot have."""
        if self.fault is Fault.BEFORE:
            after, expected = world, StoreUnavailable
        else:
            after, expected = getattr(world, self.name)(*self.args, **self.options)
            if self.fault is Fault.AFTER and not _is_error(expected):
                expected = StoreUnavailable
        if outcome is CANCELLED:
            return [world, after]
        return [after] if outcome == expected else []

    def must_follow(self, earlier: Call) -> bool:
        """Whether the store promises to apply this call after that one, which was made earlier."""
        return self.handle == earlier.handle and {self.name, earlier.name} <= _ORDERED


def explain(worlds: Sequence[World], made: Sequence[tuple[Call, Outcome]]) -> list[World]:
    """The worlds that any of `worlds` may have become by these calls, made all at once.

    They took effect one after the other, in an order that gave each the outcome that it had. If
    there is no such order, there is no such world, and the store is broken.
    """
    if not made:
        return _distinct(worlds)
    found: list[World] = []
    for number, (call, outcome) in enumerate(made):
        if any(call.must_follow(earlier) for earlier, _ in made[:number]):
            continue
        after = [new for world in worlds for new in call.worlds_after(world, outcome)]
        if after:
            found += explain(_distinct(after), [*made[:number], *made[number + 1 :]])
    return _distinct(found)


def told(value: Any) -> str:
    """A value in a history, without what is the same everywhere."""
    match value:
        case Job():
            flag = " asked to cancel" if value.cancel_requested else ""
            return f"job {int(value.id, 16)} v{value.version} {value.state}{flag}"
        case Request() | Response():
            return f"{type(value).__name__.lower()} {value.body.decode()!r}"
        case tuple() | list():
            return f"[{', '.join(told(item) for item in value)}]"
        case type():
            return value.__name__
    return repr(value)


def _is_error(outcome: Outcome) -> bool:
    return isinstance(outcome, type) and issubclass(outcome, Exception)


def _distinct(worlds: Sequence[World]) -> list[World]:
    return list(dict.fromkeys(worlds))
