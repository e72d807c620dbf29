"""Every store keeps the contract, and what does not keep it fails."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

import poor_stores
from asyncjobs import transitions
from asyncjobs.hints import Changed, Hint, Overruled, Queued, Something
from asyncjobs.job import Progress
from asyncjobs.store import Store, StoreWrapper
from asyncjobs.stores import MemoryStore, SqliteStore
from asyncjobs.testing import NOW, REQUEST, RESPONSE, FakeClock, StoreContract, a_job
from asyncjobs.testing.one_store import OneStore
from asyncjobs.testing.two_stores import TwoStores

DEADLINE = 20


class TestMemoryStore(StoreContract):
    only_one = "its jobs are in the memory of one process"

    @pytest.fixture
    def make_store(self) -> Callable[[], Store]:
        return MemoryStore


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], Store]:
        return lambda: SqliteStore(tmp_path / "jobs.db")


# The contract itself.


def contract_of(kind: type) -> set[str]:
    """The names of the tests of a class and of what it inherits from."""
    return {name for name in dir(kind) if name.startswith("test_") and getattr(kind, name)}


def test_what_there_can_be_only_one_of_is_not_asked_for_two() -> None:
    """A store that says why no other can have its jobs open is spared what takes two, and only
    that; nothing is skipped for it."""
    assert contract_of(TestMemoryStore) == contract_of(OneStore)
    assert contract_of(TestSqliteStore) == contract_of(OneStore) | contract_of(TwoStores)
    assert contract_of(OneStore)
    assert contract_of(TwoStores)


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Which tests fail on the poor stores."""
    report = tmp_path_factory.mktemp("poor") / "report.xml"
    command = ["-m", "pytest", "-n0", "-q", poor_stores.__file__, f"--junitxml={report}"]
    subprocess.run([sys.executable, *command], capture_output=True, check=False)
    failed = defaultdict(set)
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            kind = case.attrib["classname"].rpartition(".")[2]
            failed[kind].add(case.attrib["name"].partition("[")[0])
    return failed


def test_a_store_of_one_process_fails(failed: dict[str, set[str]]) -> None:
    """A store that keeps all in its own process passes no test that takes two, and does keep what
    it promises to who has it alone."""
    assert failed["TestOneProcess"] == contract_of(TwoStores)


HINTS = {
    "test_who_follows_a_job_hears_of_what_another_does",
    "test_who_listens_hears_that_another_has_queued_a_job",
    "test_who_runs_a_job_hears_that_another_has_it_stop",
}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("TestDeaf", HINTS),
        (
            "TestLastOneWins",
            {
                "test_of_two_that_write_at_once_one_loses",
                "test_each_of_many_jobs_is_claimed_by_one",
                "test_who_has_lost_a_job_can_change_nothing",
            },
        ),
        ("TestBlind", {"test_the_jobs_of_a_dead_peer_are_orphans"}),
        (
            "TestJealous",
            {
                "test_the_jobs_of_a_living_peer_are_no_orphans",
                "test_the_jobs_of_a_dead_peer_are_orphans",
            },
        ),
        ("TestLonely", {"test_a_peer_is_known_by_what_it_says_of_itself"}),
        (
            "TestWrittenInC",
            {"test_any_name_is_kept_as_it_is", "test_what_is_queued_under_any_name_is_found"},
        ),
        (
            "TestKeyless",
            {
                "test_a_key_is_one_jobs_whoever_adds_it",
                "test_of_two_that_add_with_one_key_at_once_one_is_kept",
            },
        ),
    ],
)
def test_a_store_that_lacks_one_thing_fails(
    failed: dict[str, set[str]], kind: str, expected: set[str]
) -> None:
    """A store that does not tell what others do, overwrites it, takes the dead for alive or the
    living for dead, does not see them, cuts names short, or knows no keys fails the tests of
    that."""
    assert expected <= failed[kind]


def test_the_clock_needs_no_pytest() -> None:
    """A program that uses the clock, or a sample, need not have pytest; the contract loads it."""
    program = (
        "import sys\n"
        "from asyncjobs.testing import NOW, REQUEST, RESPONSE, FakeClock, a_job, purge_all\n"
        "assert FakeClock()() == NOW\n"
        "assert not {'pytest', '_pytest', 'pytest_asyncio'} & set(sys.modules)\n"
        "from asyncjobs.testing import StoreContract\n"
        "assert 'pytest' in sys.modules\n"
        "import asyncjobs.testing\n"
        "assert not hasattr(asyncjobs.testing, 'Contract')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# What is passed on.


@pytest.fixture(params=["memory", "sqlite", "wrapped"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[FakeClock], Store]:
    """Makes a store that goes by a clock."""
    if request.param == "memory":
        return lambda clock: MemoryStore(clock=clock)
    if request.param == "sqlite":
        return lambda clock: SqliteStore(tmp_path / "jobs.db", clock=clock)
    return lambda clock: StoreWrapper(MemoryStore(clock=clock))


async def test_a_store_goes_by_the_clock_that_it_is_given(
    make: Callable[[FakeClock], Store],
) -> None:
    """What time it is, a store knows from its clock."""
    clock = FakeClock()
    async with make(clock) as store:
        clock.advance(7)
        assert store.now() == NOW + 7


def test_a_wrapper_passes_everything_on() -> None:
    """A wrapper is asked nothing that its inner store does not hear of."""
    own = {name for name in vars(Store) if not name.startswith("_")}
    assert own - set(vars(StoreWrapper)) == {"response"}  # which is made of `result`
    assert "follow" in own


# Hints.


def test_hints_of_different_kinds_differ() -> None:
    """No hint equals one of another kind, nor a text, whatever is in them."""
    hints = [Changed("queued"), Queued("queued"), Queued(), Overruled(), Something()]
    assert len(set(hints)) == len(hints)
    assert not {"queued", "", None, ("queued",), ()} & set(hints)
    assert Changed("a") == Changed("a") != Changed("b")


async def heard(store: Store, changes: AsyncIterator[Hint]) -> list[Hint]:
    """What there was to hear until now."""
    job = await store.add(transitions.start(a_job(route="end of this"), "x", NOW), REQUEST)
    found: list[Hint] = []
    async with asyncio.timeout(DEADLINE):
        async for hint in changes:
            if hint == Changed(job.id):
                return found
            found.append(hint)
    return found


async def test_what_starts_at_once_and_finishes_hints_at_nothing_else(
    make: Callable[[FakeClock], Store],
) -> None:
    """Of a job that is started at once, reports how far it is and finishes there is one hint for
    each change: nothing is queued by it, and nobody is overruled."""
    async with make(FakeClock()) as store:
        changes = store.changes()
        job = await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
        await store.replace(job, further := transitions.report(job, Progress(1)))
        await store.replace(further, transitions.finish(further, 200, NOW), RESPONSE)
        assert await heard(store, changes) == [Changed(job.id)] * 3


async def test_to_stop_is_hinted_at_once(make: Callable[[FakeClock], Store]) -> None:
    """A job that runs here is overruled when it is asked to stop, and not by what it still tells
    of itself until it does; one that runs elsewhere is not overruled here."""
    async with make(FakeClock()) as store:
        job = await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
        theirs = await store.add(transitions.start(a_job(), "another", NOW), REQUEST)
        changes = store.changes()
        await store.replace(job, asked := transitions.ask_to_cancel(job))
        await store.replace(asked, transitions.report(asked, Progress(1)))
        await store.replace(theirs, transitions.ask_to_cancel(theirs))
        heard_of = await heard(store, changes)
        assert heard_of.count(Overruled()) == 1
        assert not [hint for hint in heard_of if isinstance(hint, Queued | Something)]


async def test_who_is_cancelled_has_others_hear_all_the_same(
    make: Callable[[FakeClock], Store],
) -> None:
    """A write goes on if its caller is cancelled, and so does the hint of what it did."""
    async with make(FakeClock()) as store:
        job = await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
        changes = store.changes()
        writing = asyncio.create_task(store.replace(job, transitions.ask_to_cancel(job)))
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        async with asyncio.timeout(DEADLINE):
            while await anext(changes) != Overruled():
                pass
