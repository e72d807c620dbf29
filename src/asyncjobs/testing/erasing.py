"""What a store promises of a request that is not to be kept."""

from __future__ import annotations

import pytest

from .. import transitions
from ..errors import Conflict, JobNotFound
from ..store import Query, Store
from .clock import NOW
from .samples import BROKEN, REQUEST, RESPONSE, a_job, purge_all


class Erasing:
    """Tests with the fixture `store`, an open one that nobody else has open."""

    async def test_a_request_is_kept_with_its_job(self, store: Store) -> None:
        """Whatever becomes of a job, its request is there, unless it is to be erased."""
        job = await store.add(a_job(), REQUEST)
        await store.replace(job, running := transitions.start(job, store.worker, NOW))
        await store.replace(running, transitions.finish(running, 200, NOW), RESPONSE)
        assert await store.request(job.id) == REQUEST

    async def test_an_erased_request_is_not_found(self, store: Store) -> None:
        """A request that is erased with a change is not found from then on; the job is, and its
        response, and they are forgotten in their time."""
        other = await store.add(a_job(), REQUEST)
        job = await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
        final = transitions.finish(job, 200, NOW)
        await store.replace(job, final, RESPONSE, erase=True)
        with pytest.raises(JobNotFound):
            await store.request(job.id)
        assert await store.result(job.id) == (final, RESPONSE)
        assert await store.request(other.id) == REQUEST
        assert await purge_all(store, NOW + 61) == 1
        assert await store.find(Query()) == [other]

    async def test_what_changes_nothing_erases_nothing(self, store: Store) -> None:
        """A write that comes too late leaves the request where it is."""
        job = await store.add(a_job(), REQUEST)
        await store.replace(job, transitions.start(job, store.worker, NOW))
        with pytest.raises(Conflict):
            await store.replace(job, transitions.fail(job, NOW, BROKEN), RESPONSE, erase=True)
        assert await store.request(job.id) == REQUEST

    async def test_what_has_no_request_any_more_can_be_changed(self, store: Store) -> None:
        """To erase a request again is to change the job alone."""
        job = await store.add(a_job(), REQUEST)
        failed = transitions.fail(job, NOW, BROKEN)
        await store.replace(job, failed, RESPONSE, erase=True)
        await store.replace(failed, again := transitions.retry(failed, NOW), erase=True)
        assert await store.result(job.id) == (again, None)
