"""What a store promises where others have the same database open: they see and hear of each other,
and do not get in each other's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

import pytest

from .. import transitions
from ..errors import Conflict, JobNotFound, KeyReused
from ..hints import Changed, Hint, Overruled, Queued, Something
from ..job import Job, Progress, Request, State
from ..key import Key
from ..listing import Listing
from ..store import Liveness, Orphan, Presence, Query, Store
from .clock import NOW
from .samples import BROKEN, CANCELLED, REQUEST, RESPONSE, a_job, purge_all

T = TypeVar("T")
Step = Callable[[Job], Job]

#: Seconds after which what has not been heard or seen of another store is missing.
DEADLINE = 20.0
#: Jobs that two stores want at once.
MANY = 40
#: What is to be started.
QUEUED = Query(states=frozenset({State.QUEUED}))
#: Names that must not be taken for each other, nor for what is before a NUL or a blank.
NAMES = [
    *(
        "a",
        "\1",
        "\1A",
        "\1B\0A",
        "a\0",
        "a\0b",
        "a\0c",
        "\0",
        "\0\0",
        "a ",
        " a",
        "a\n",
        "A",
        "a%",
        "a_b",
        "a*",
    ),
    *("a/../b", "'; DROP TABLE jobs; --", '"', "\\", "{}", "null", "1", "\N{SNOWMAN}", "a\N{DEL}"),
    *("\N{LATIN SMALL LETTER A WITH DIAERESIS}", "a\N{COMBINING DIAERESIS}", "x" * 3000),
]


class TwoStores:
    """Tests with the fixtures `store` and `peer`, two open stores on one database, and `make_store`
    for further ones."""

    async def test_what_one_writes_the_other_reads(self, store: Store, peer: Store) -> None:
        """A job that one store has added, and each change of it, is there for another one once the
        write returns, with its request and its response."""
        job = await store.add(a_job(owner="ada", program="ours"), REQUEST)
        assert await peer.get(job.id, "ada") == job
        assert await peer.request(job.id) == REQUEST
        assert await peer.find(Query()) == [job]
        assert await peer.programs() == {"ours"}
        running = transitions.start(job, peer.worker, NOW)
        await peer.replace(job, running)
        assert await store.get(job.id) == running
        assert await store.find(Query(worker=peer.worker)) == [running]
        assert await store.versions([job.id]) == {job.id: running.version}
        final = transitions.finish(running, RESPONSE.status, NOW)
        await peer.replace(running, final, RESPONSE)
        assert await store.result(job.id) == (final, RESPONSE)

    async def test_what_one_forgets_the_other_does_not_find(
        self, store: Store, peer: Store
    ) -> None:
        """A job that one store has purged is gone for another one as well."""
        job = await store.add(a_job(), REQUEST)
        await peer.replace(job, transitions.fail(job, NOW, BROKEN), RESPONSE)
        assert await purge_all(peer, NOW + 61) == 1
        for read in (store.get, store.request, store.response):
            with pytest.raises(JobNotFound):
                await read(job.id)
        assert await store.purge(NOW + 61) == 0

    async def test_each_counts_what_the_other_queues(self, store: Store, peer: Store) -> None:
        """Jobs that one store has queued are counted by another one, are ahead of its own, and are
        found there once their time to be cancelled has come."""
        query = replace(QUEUED, program="ours")
        first = await store.add(a_job(program="ours", owner="ada", cancel_at=NOW), REQUEST)
        second = await peer.add(a_job(program="ours", owner="ada"), REQUEST)
        for each in (store, peer):
            assert await each.count(query) == 2
            assert await each.count(replace(query, owner="ada")) == 2
            assert await each.count(replace(query, ahead_of=second)) == 1
            assert await each.overdue(NOW + 1) == [first]
        await peer.replace(first, transitions.start(first, peer.worker, NOW))
        for each in (store, peer):
            assert await each.count(replace(query, owner="ada")) == 1
            assert await each.count(replace(query, ahead_of=second)) == 0

    async def test_what_one_erases_is_erased_for_the_other(self, store: Store, peer: Store) -> None:
        """A request that one store has erased is not found by another one."""
        job = await store.add(a_job(), REQUEST)
        await peer.replace(job, transitions.fail(job, NOW, BROKEN), RESPONSE, erase=True)
        for each in (store, peer):
            with pytest.raises(JobNotFound):
                await each.request(job.id)

    # Races.

    async def test_an_id_is_taken_once_whoever_takes_it(self, store: Store, peer: Store) -> None:
        """Of two stores that add a job with the same id one has a conflict, and both read the
        other's."""
        for number in range(10):
            rivals = [a_job(id=f"{number:032x}", route=route) for route in ("one", "two")]
            adds = [
                each.add(job, Request("GET", job.route))
                for each, job in zip((store, peer), rivals, strict=True)
            ]
            winner = await _only_winner(rivals, adds)
            for each in (store, peer):
                assert await each.get(winner.id) == winner
                assert await each.request(winner.id) == Request("GET", winner.route)

    async def test_a_key_is_one_jobs_whoever_adds_it(self, store: Store, peer: Store) -> None:
        """What one store has added with a key another one is given in the place of its own, and
        another request with that key it refuses."""
        key, other = Key(b"k" * 16, b"f" * 16), Key(b"k" * 16, b"g" * 16)
        job = await store.add(a_job(), REQUEST, key)
        assert await peer.keyed(key) == await peer.add(a_job(), REQUEST, key) == job
        for refused in (peer.keyed(other), peer.add(a_job(), REQUEST, other)):
            with pytest.raises(KeyReused):
                await refused
        assert await store.find(Query()) == [job]
        final = transitions.finish(transitions.start(job, peer.worker, NOW), 200, NOW)
        await peer.replace(job, final, RESPONSE)
        assert await store.keyed(key) == await store.add(a_job(), REQUEST, key) == final
        assert await purge_all(peer, NOW + 61) == 1
        assert await store.keyed(key) is None
        again = await store.add(a_job(), REQUEST, key)
        assert await peer.keyed(key) == again

    async def test_of_two_that_add_with_one_key_at_once_one_is_kept(
        self, store: Store, peer: Store
    ) -> None:
        """Of many jobs that two stores add with one key at the same moment one is kept, and all who
        have added one are given that."""
        for number in range(10):
            key = Key(bytes([number]) * 16, b"f" * 16)
            adds = [each.add(a_job(), REQUEST, key) for each in (store, peer) * 5]
            first, *_ = added = await asyncio.gather(*adds)
            assert added == [first] * 10
            assert len(await store.find(Query())) == number + 1
            for each in (store, peer):
                assert await each.keyed(key) == first

    async def test_of_two_that_write_at_once_one_loses(self, store: Store, peer: Store) -> None:
        """Of two writes that were decided on one version one is a conflict, which has changed
        nothing, and both stores read the other one."""
        for _ in range(10):
            job = await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
            done, gone = (
                transitions.finish(job, 200, NOW),
                transitions.rescue(job, NOW, "its process died"),
            )
            writes = [store.replace(job, done, RESPONSE), peer.replace(job, gone)]
            winner = await _only_winner([done, gone], writes)
            result = (winner, RESPONSE if winner is done else None)
            assert await store.result(job.id) == await peer.result(job.id) == result

    async def test_each_of_many_jobs_is_claimed_by_one(self, store: Store, peer: Store) -> None:
        """Where two stores want the same jobs at the same moment, each of these is started by one
        of them; the other has a conflict, and sees who has it."""
        added = [await store.add(a_job(), REQUEST) for _ in range(MANY)]
        assert await peer.find(Query()) == added

        async def claim(job: Job) -> Job:
            rivals = [transitions.start(job, each.worker, NOW) for each in (store, peer)]
            writes = [
                each.replace(job, rival) for each, rival in zip((store, peer), rivals, strict=True)
            ]
            return await _only_winner(rivals, writes)

        claimed = await asyncio.gather(*map(claim, added))
        for each in (store, peer):
            assert await each.find(Query(states=frozenset({State.RUNNING}))) == claimed

    async def test_who_has_lost_a_job_can_change_nothing(self, store: Store, peer: Store) -> None:
        """What one store writes on a version that another one has changed is a conflict."""
        job = await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
        lost = transitions.rescue(job, NOW, "its process died")
        await peer.replace(job, lost)
        with pytest.raises(Conflict):
            await store.replace(job, transitions.finish(job, 200, NOW), RESPONSE)
        assert await store.result(job.id) == await peer.result(job.id) == (lost, None)

    # Hints.

    async def test_who_follows_a_job_hears_of_what_another_does(
        self, store: Store, peer: Store
    ) -> None:
        """Who follows a job hears that another store has changed it, whatever it is: that it has
        started it, has come further, and has finished it."""
        steps: list[Step] = [
            lambda job: transitions.start(job, peer.worker, NOW),
            lambda job: transitions.report(job, Progress(1)),
            lambda job: transitions.finish(job, 200, NOW),
        ]
        for _ in range(3):
            job = await store.add(a_job(), REQUEST)
            for step in steps:
                changes = store.changes()
                store.follow(job)
                new = step(job)
                await peer.replace(job, new, RESPONSE if new.state.is_final else None)
                await _heard(changes, Changed(job.id))
                assert await store.get(job.id) == new
                job = new

    async def test_who_listens_hears_that_another_has_queued_a_job(
        self, store: Store, peer: Store
    ) -> None:
        """Who listens hears of a job that another store leaves to be started: it is new, or given
        back, or retried. Then it is found."""
        changes = store.changes()
        job = await peer.add(a_job(), REQUEST)
        await _heard(changes, Queued(), Queued(job.route))
        assert await store.find(QUEUED) == [job]
        steps: list[tuple[Step, Step]] = [
            (
                lambda job: transitions.start(job, peer.worker, NOW),
                lambda job: transitions.release(job, "given back"),
            ),
            (
                lambda job: transitions.cancel(job, NOW, CANCELLED),
                lambda job: transitions.retry(job, NOW),
            ),
        ]
        for take, queue in steps:
            taken = take(job)
            await peer.replace(job, taken, RESPONSE if taken.state.is_final else None)
            changes = store.changes()
            job = queue(taken)
            await peer.replace(taken, job)
            await _heard(changes, Queued(), Queued(job.route))
            assert await store.find(QUEUED) == [job]

    async def test_who_runs_a_job_hears_that_another_has_it_stop(
        self, store: Store, peer: Store
    ) -> None:
        """Who runs a job hears that another store has asked for it to stop."""
        job = await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
        changes = store.changes()
        await peer.replace(job, asked := transitions.ask_to_cancel(job))
        await _heard(changes, Overruled())
        assert await store.find(Query(worker=store.worker, cancel_requested=True)) == [asked]

    # Life and death.

    async def test_the_jobs_of_a_living_peer_are_no_orphans(
        self, store: Store, peer: Store
    ) -> None:
        """Stores have names of their own, each knows that the other lives, and neither takes what
        the other runs for left."""
        assert store.worker != peer.worker
        for each in (store, peer):
            await each.add(transitions.start(a_job(), each.worker, NOW), REQUEST)
        for each, other in ((store, peer), (peer, store)):
            assert await each.liveness(other.worker) is Liveness.ALIVE
            assert await each.orphans() == []

    @pytest.mark.parametrize("stopping", [False, True])
    async def test_the_jobs_of_a_dead_peer_are_orphans(
        self, store: Store, peer: Store, make_store: Callable[[], Store], stopping: bool
    ) -> None:
        """What a process ran that is gone, without a word, is found to be left by all others; it is
        to blame unless the process was stopping. What the living run is not among it."""
        for each in (store, peer):
            await each.add(transitions.start(a_job(), each.worker, NOW), REQUEST)
        async with _to_die(make_store()) as third:
            third.announce(Presence("app", None, stopping))
            left = await third.add(transitions.start(a_job(), third.worker, NOW), REQUEST)
            assert await store.orphans() == []
        orphan = Orphan(left, blamed=not stopping)
        for each in (store, peer):
            await _until(partial(each.liveness, third.worker), Liveness.DEAD)
            await _until(each.orphans, [orphan])
        await peer.replace(left, transitions.release(left, "given back"))
        assert await store.orphans() == []

    async def test_a_peer_is_known_by_what_it_says_of_itself(
        self, store: Store, peer: Store, make_store: Callable[[], Store]
    ) -> None:
        """What a store announces the others see, until it announces something else, is closed, or
        dies; nobody sees himself."""
        routes = frozenset(NAMES)
        for said in (Presence("a\0b", routes), Presence("app", None, stopping=True)):
            peer.announce(said)
            await _until(store.others, [said])
            assert said not in await peer.others()
        async with make_store() as third:
            third.announce(Presence("third", frozenset()))
            await _until(partial(_programs, store), ["app", "third"])
        await _until(store.others, [said])
        async with _to_die(make_store()) as fourth:
            fourth.announce(Presence("fourth", frozenset()))
            await _until(partial(_programs, store), ["app", "fourth"])
        await _until(store.others, [said])

    # Names.

    async def test_any_name_is_kept_as_it_is(self, store: Store, peer: Store) -> None:
        """Routes, owners, programs, paths and messages may have any characters, NUL as well: both
        stores read and find them as they were written, and take none for another."""
        added = [
            await store.add(
                transitions.start(
                    a_job(route=name, owner=name, program=name, path=f"/{name}"), "w", NOW
                ),
                REQUEST,
            )
            for name in NAMES
        ]
        jobs = [transitions.report(job, Progress(1, message=job.route)) for job in added]
        for old, new in zip(added, jobs, strict=True):
            await peer.replace(old, new)
        for each in (store, peer):
            assert await each.find(Query()) == jobs
            assert await each.programs() == set(NAMES)
            for job in jobs:
                assert await each.get(job.id, job.owner) == job
                assert await each.find(Query(owner=job.owner)) == [job]
                assert await each.find(Query(program=job.program)) == [job]
                assert await each.find(Query(routes=frozenset({job.route}))) == [job]
                others = frozenset(NAMES) - {job.route}
                assert await each.find(Query(not_routes=others)) == [job]
                for listing in (
                    Listing(owner=job.owner),
                    Listing(program=job.program),
                    Listing(routes=frozenset({job.route})),
                ):
                    assert (await each.list(listing)).jobs == [job]

    async def test_what_is_queued_under_any_name_is_found(self, store: Store, peer: Store) -> None:
        """A queue is found by its name, whatever characters that has, and by no other."""
        jobs = {name: await store.add(a_job(route=name, program=name), REQUEST) for name in NAMES}
        assert await peer.find(QUEUED) == list(jobs.values())
        for name, job in jobs.items():
            routes = frozenset({name})
            for program in (None, name):
                found = replace(QUEUED, routes=routes, program=program)
                assert await peer.find(found) == [job]
                limited = replace(QUEUED, limits={name: 1}, program=name)
                assert await peer.find(limited) == [job]


async def _only_winner(rivals: Iterable[Job], writes: Iterable[Awaitable[object]]) -> Job:
    """The one whose write has come through; all others had a conflict."""
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    lost = [error for error in outcomes if isinstance(error, BaseException)]
    assert [type(error) for error in lost] == [Conflict] * (len(outcomes) - 1), outcomes
    (winner,) = (
        rival for rival, outcome in zip(rivals, outcomes, strict=True) if outcome not in lost
    )
    return winner


@asynccontextmanager
async def _to_die(store: Store) -> AsyncIterator[Store]:
    """The store, open, which is gone at the end without having been closed."""
    await store.__aenter__()
    try:
        yield store
    finally:
        store.abandon()


async def _programs(store: Store) -> list[str]:
    return sorted(str(other.program) for other in await store.others())


async def _until(read: Callable[[], Awaitable[T]], expected: T) -> None:
    """Wait until this is what is read."""
    end = asyncio.get_running_loop().time() + DEADLINE
    while (found := await read()) != expected:
        late = asyncio.get_running_loop().time() > end
        assert not late, f"after {DEADLINE:g} s this is {found}, not {expected}"
        await asyncio.sleep(0.01)


async def _heard(changes: AsyncIterator[Hint], *hints: Hint) -> None:
    """Wait until there is one of these hints, or the one that stands for all."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DEADLINE):
            async for hint in changes:
                if hint in (*hints, Something()):
                    return
    raise AssertionError(f"after {DEADLINE:g} s there is no hint of what another has done: {hints}")
