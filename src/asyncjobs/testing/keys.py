"""What a store promises of the keys of jobs, to who has it open."""

from __future__ import annotations

import asyncio

import pytest

from .. import transitions
from ..errors import Conflict, JobNotFound, KeyReused
from ..job import Job, State
from ..key import Key
from ..store import Query, Store
from .clock import NOW
from .samples import BROKEN, CANCELLED, INTERRUPTED, REQUEST, RESPONSE, a_job, purge_all

FINAL = [state for state in State if state.is_final]


class OneStoreKeys:
    """Tests with the fixture `store`, an open one that nobody else has open."""

    async def test_a_key_is_one_jobs(self, store: Store) -> None:
        """Who adds a job with a key that another one has, for the same request, is given that one,
        as it is now, and nothing is kept; so it is told who looks first. Other keys are others'."""
        key, other = Key(b"k" * 16, b"f" * 16), Key(b"l" * 16, b"f" * 16)
        assert await store.keyed(key) is None
        job = await store.add(a_job(owner="ada"), REQUEST, key)
        running = transitions.start(job, store.worker, NOW)
        await store.replace(job, running)

        repeat = a_job(owner="ada")
        assert await store.add(repeat, REQUEST, key) == await store.keyed(key) == running
        for read in (store.get, store.request):
            with pytest.raises(JobNotFound):
                await read(repeat.id)
        assert await store.keyed(other) is None
        second = await store.add(a_job(), REQUEST, other)
        third = await store.add(a_job(), REQUEST)
        assert await store.keyed(key) == running
        assert await store.keyed(other) == second
        assert sorted(await store.find(Query())) == sorted([running, second, third])

    async def test_a_key_is_one_requests(self, store: Store) -> None:
        """Another request with a key that is taken is refused, and nothing is kept of it; the job
        that has the key is left alone."""
        key, other = Key(b"k" * 16, b"f" * 16), Key(b"k" * 16, b"g" * 16)
        job = await store.add(a_job(), REQUEST, key)
        with pytest.raises(KeyReused):
            await store.add(a_job(), REQUEST, other)
        with pytest.raises(KeyReused):
            await store.keyed(other)
        assert await store.keyed(key) == job
        assert await store.find(Query()) == [job]

    async def test_of_many_adds_at_once_with_one_key_one_is_kept(self, store: Store) -> None:
        """All of them are given the job of the first one, and those with another request are
        refused; others that come at the same moment are kept."""
        key, other = Key(b"k" * 16, b"f" * 16), Key(b"k" * 16, b"g" * 16)
        adds = [store.add(a_job(), REQUEST, key) for _ in range(20)]
        refused = [store.add(a_job(), REQUEST, other) for _ in range(20)]
        free = [a_job() for _ in range(20)]
        first, *_ = added = await asyncio.gather(*adds)
        outcomes = await asyncio.gather(
            *refused, *(store.add(job, REQUEST) for job in free), return_exceptions=True
        )
        assert added == [first] * 20
        assert [type(outcome) for outcome in outcomes[:20]] == [KeyReused] * 20
        assert outcomes[20:] == free
        assert len(await store.find(Query())) == 21

    @pytest.mark.parametrize("state", FINAL)
    async def test_a_requests_key_is_its_jobs_until_that_is_forgotten(
        self, store: Store, state: State
    ) -> None:
        """However a job has ended, the key of its request is its own as long as it is kept, and
        free afterwards."""
        key = Key(b"k" * 16, b"f" * 16)
        ended = await _ended(store, await store.add(a_job(), REQUEST, key), state)
        assert await store.add(a_job(), REQUEST, key) == await store.keyed(key) == ended
        assert await purge_all(store, NOW + 61) == 1
        assert await store.keyed(key) is None
        assert await store.keyed(Key(key.digest, b"g" * 16)) is None
        again = a_job()
        assert await store.add(again, REQUEST, key) == await store.keyed(key) == again

    @pytest.mark.parametrize("state", FINAL)
    async def test_a_key_of_any_request_is_free_when_its_job_was_in_vain(
        self, store: Store, state: State
    ) -> None:
        """A key without a fingerprint is its job's until that has failed, been cancelled or been
        interrupted. Who has it then keeps it, when the first job is forgotten as well."""
        key = Key(b"k" * 16)
        ended = await _ended(store, await store.add(a_job(), REQUEST, key), state)
        second = a_job(ttl=600.0)
        if state is State.SUCCEEDED:
            assert await store.add(second, REQUEST, key) == await store.keyed(key) == ended
            return
        assert await store.keyed(key) is None
        assert await store.add(second, REQUEST, key) == await store.keyed(key) == second
        assert await purge_all(store, NOW + 61) == 1
        assert await store.add(a_job(), REQUEST, key) == await store.keyed(key) == second

    async def test_a_job_that_is_retried_has_its_key_again(self, store: Store) -> None:
        """Unless somebody else has got it meanwhile, who keeps it."""
        keys = kept, lost = Key(b"k" * 16), Key(b"l" * 16)
        jobs = [await store.add(a_job(), REQUEST, key) for key in keys]
        failed = [await _ended(store, job, State.FAILED) for job in jobs]
        other = await store.add(a_job(), REQUEST, lost)
        retried = [transitions.retry(job, NOW + 2) for job in failed]
        for old, new in zip(failed, retried, strict=True):
            await store.replace(old, new)
        assert await store.keyed(kept) == retried[0]
        assert await store.keyed(lost) == other

    async def test_a_job_that_cannot_be_kept_takes_no_key(self, store: Store) -> None:
        """An id that is taken is a conflict, and the key stays free."""
        key = Key(b"k" * 16, b"f" * 16)
        job = await store.add(a_job(), REQUEST)
        with pytest.raises(Conflict):
            await store.add(a_job(id=job.id), REQUEST, key)
        assert await store.keyed(key) is None
        assert await store.get(job.id) == job


async def _ended(store: Store, job: Job, state: State) -> Job:
    """The job, once it has come to this end."""
    running = transitions.start(job, store.worker, NOW)
    await store.replace(job, running)
    ended = {
        State.SUCCEEDED: lambda: transitions.finish(running, RESPONSE.status, NOW),
        State.FAILED: lambda: transitions.fail(running, NOW, BROKEN),
        State.CANCELLED: lambda: transitions.cancel(running, NOW, CANCELLED),
        State.INTERRUPTED: lambda: transitions.interrupt(running, NOW, INTERRUPTED),
    }[state]()
    await store.replace(running, ended, RESPONSE)
    return ended
