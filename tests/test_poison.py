"""A job that takes its process down takes no other with it: shown in a model of many lives.

The model is in `crash_model`; `asyncjobs torture poison` tries the same with real processes.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncjobs import Jobs, State, current_job
from asyncjobs.engines import queue
from asyncjobs.engines.awaited import Awaited
from asyncjobs.engines.slots import Slots
from asyncjobs.job import Job, Request
from asyncjobs.running.threads import Threads
from asyncjobs.store import Store
from asyncjobs.stores import MemoryStore, SqliteStore
from asyncjobs.verdict import MAX_CRASHES
from crash_model import HANDLER, ROUTE, Plan, live

DEADLINE = 20
LIVES = settings(max_examples=100, deadline=None)
#: Of fifty innocents: all there at once, or over time; in one process, or in four.
WORLDS: Mapping[str, Mapping[str, Any]] = {
    "one process": {},
    "one process, over time": {"arrival": 30.0},
    "one process, all side by side": {"slots": 100},
    "four processes": {"processes": 4},
    "four workers of hypercorn": {"processes": 4, "linked": True},
    "four workers, over time": {"processes": 4, "linked": True, "arrival": 30.0},
}
RANDOMS = st.integers(0, 2**32).map(Random)


def plans(**fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Plan]:
    return st.builds(
        Plan,
        **{
            "poison": st.integers(1, 4),
            "innocents": st.integers(0, 30),
            "arrival": st.sampled_from([0.0, 5.0, 30.0]),
            "duration": st.sampled_from([0.1, 2.0, 10.0]),
            "fuse": st.sampled_from([0.0, 0.1, 1.0, 20.0]),
            "processes": st.integers(1, 4),
            "slots": st.sampled_from([1, 2, 10, 100]),
            "linked": st.booleans(),
            "kills": st.integers(0, 6),
            "told": st.booleans(),
            "max_starts": st.just(1000),
            **fixed,
        },
    )


@LIVES
@given(plans(), RANDOMS)
def test_a_poison_job_is_convicted(plan: Plan, random: Random) -> None:
    """A job that takes each process down that runs it ends as interrupted, after five crashes, of
    which it has caused no more."""
    lives = live(plan, random)
    for job in lives.poison:
        assert (job.state, job.crashes) == (State.INTERRUPTED, MAX_CRASHES)
        assert lives.caused[job.id] <= MAX_CRASHES


@LIVES
@given(plans(), RANDOMS)
def test_crashes_are_the_deaths_that_a_job_may_be_blamed_for(plan: Plan, random: Random) -> None:
    """A job has as many crashes as processes died under it, without those that had been told to
    stop; with five it is interrupted, and never with fewer."""
    lives = live(plan, random)
    for job in (*lives.innocents, *lives.poison):
        assert job.crashes == lives.deaths[job.id]
        assert (job.state is State.INTERRUPTED) == (job.crashes == MAX_CRASHES)


@LIVES
@given(plans(poison=st.integers(1, 2), kills=st.just(0)), RANDOMS)
def test_one_poison_job_or_two_cost_no_innocent(plan: Plan, random: Random) -> None:
    """However many run beside it, and wherever, no innocent is lost to one poison job, nor to two.

    An innocent with two crashes is a suspect, and from then on suffers from such poison jobs only
    that are none yet, which each of them is for two crashes: with two of them, four at most.
    """
    assert not live(plan, random).lost


@pytest.mark.parametrize("world", WORLDS)
def test_three_poison_jobs_cost_hardly_an_innocent(world: str) -> None:
    """Of fifty innocents, three poison jobs take less than one in ten tries along."""
    assert mean_loss(world, poison=3, tries=100) < 0.1


@pytest.mark.parametrize("world", WORLDS)
def test_without_suspects_innocents_are_lost(world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If three crashes convict, and nobody is a suspect before, poison jobs take innocents along:
    in each of these worlds, and by the dozen where there are ten of them. The model shows it."""
    monkeypatch.setattr("asyncjobs.verdict.MAX_CRASHES", 3)
    monkeypatch.setattr("asyncjobs.job.SUSPECT_CRASHES", sys.maxsize)
    assert mean_loss(world, poison=1, tries=20) > 0.1
    assert mean_loss(world, poison=3, tries=20) > 1
    assert mean_loss(world, poison=10, tries=20) > 6


def mean_loss(world: str, *, poison: int, tries: int) -> float:
    """How many of fifty innocents have no result, on average."""
    plan = Plan(poison=poison, **WORLDS[world])
    return mean(len(live(plan, Random(seed)).lost) for seed in range(tries))


@LIVES
@given(plans(poison=st.just(0), kills=st.integers(1, 40), told=st.just(False)), RANDOMS)
def test_kills_at_random_cost_only_whom_they_have_hit_five_times(
    plan: Plan, random: Random
) -> None:
    """Who kills processes at random loses no job, but for one that was hit five times."""
    lives = live(plan, random)
    for job in lives.lost:
        assert lives.deaths[job.id] == MAX_CRASHES


@LIVES
@given(plans(poison=st.just(0), kills=st.integers(1, 40), told=st.just(True)), RANDOMS)
def test_who_is_told_to_stop_and_then_killed_costs_nobody(plan: Plan, random: Random) -> None:
    """A service manager that kills processes which do not stop in time blames no job for that."""
    lives = live(plan, random)
    assert not lives.lost
    assert not any(job.crashes for job in lives.innocents)


Order = Callable[[list[Job], list[Job], Random], list[Job]]


@pytest.mark.parametrize(
    ("order", "found"),
    [
        (lambda suspects, healthy, random: [*healthy, *suspects], "let wait by others"),
        (lambda suspects, healthy, random: suspects or healthy, "have to wait"),
    ],
)
def test_the_model_finds_who_is_held_up(
    order: Order, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each life suspects get a slot as soon as one is free, and never keep one from the healthy:
    an order that holds up either is found out."""
    monkeypatch.setattr(queue, "starting_order", order)
    with pytest.raises(AssertionError, match=found):
        mean_loss("one process", poison=3, tries=10)


def test_each_suspect_has_its_turn() -> None:
    """Chance decides which suspect is the next, and it goes before the healthy."""
    suspects, healthy = [a_job(2) for _ in range(3)], [a_job(0)]
    orders = [queue.starting_order(suspects, healthy, Random(seed)) for seed in range(50)]
    assert {order[0] for order in orders} == set(suspects)
    assert all(order[1:] == healthy for order in orders)
    assert queue.starting_order([], healthy, Random()) == healthy


def test_two_suspects_never_have_a_slot_each() -> None:
    """A suspect gets no slot while another one has its own, however many are free."""
    slots = Slots(10, Threads(1), Awaited(MemoryStore(), lambda: None))
    first = slots.take(HANDLER, suspect=True)
    assert first is not None
    assert slots.take(HANDLER, suspect=True) is None
    assert slots.take(HANDLER) is not None
    first.give_back()
    assert slots.take(HANDLER, suspect=True) is not None


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_the_engine_runs_one_suspect_at_a_time(kind: str, tmp_path: Path) -> None:
    """Of the suspects in a queue one runs at a time, and the healthy go on beside it."""
    store: Store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "jobs.db")
    suspects = [a_job(crashes) for crashes in (2, 3, 4)]
    healthy = [a_job(crashes) for crashes in (0, 0, 0, 1, 1, 1)]
    async with store if kind == "memory" else SqliteStore(tmp_path / "jobs.db") as before:
        for job in (*suspects, *healthy):
            await before.add(job, Request("PUT", "/", body=b'{"args":[],"kwargs":{}}'))
    jobs = Jobs(store=store, concurrency=3)
    begun: list[str] = []
    all_are_well = asyncio.Event()

    @jobs.function(name=ROUTE)
    async def work() -> None:
        begun.append(current_job.id)
        if current_job.id in {job.id for job in suspects}:
            await all_are_well.wait()

    async with jobs, asyncio.timeout(DEADLINE):
        for job in healthy:
            await jobs.result(job.id)
        assert len(set(begun) & {job.id for job in suspects}) == 1
        all_are_well.set()
        for job in suspects:
            await jobs.result(job.id)
    assert len(begun) == len(suspects) + len(healthy)


def a_job(crashes: int) -> Job:
    return Job(uuid.uuid4().hex, ROUTE, "/", created=0.0, repeatable=True, crashes=crashes)
