"""What a store promises to who counts its queue, and to who looks for what is to be cancelled."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from .. import transitions
from ..job import Job, Progress, State
from ..store import Query, Store
from .clock import NOW
from .samples import CANCELLED, REQUEST, RESPONSE, a_job

QUEUED = Query(states=frozenset({State.QUEUED}), limit=1000)


class Counting:
    """Tests with the fixture `store`, an open one that nobody else has open."""

    async def test_count_by_each_field(self, store: Store) -> None:
        """As many jobs are counted as are found, whatever is asked for, and no more than the
        limit."""
        for job in _mixed(40):
            await store.add(job, REQUEST)
        counted = set()
        for fields in (
            *({}, {"states": None}, {"states": frozenset({State.RUNNING})}),
            *({"program": "ours"}, {"program": "theirs"}, {"program": "nobody"}),
            *({"owner": "ada"}, {"owner": None}, {"owner": "eve", "program": "ours"}),
            *({"owner": "ada", "program": "ours"}, {"owner": None, "program": "ours"}),
            *({"routes": frozenset({"route 1"})}, {"routes": frozenset(), "program": "ours"}),
            {"routes": frozenset({"route 0", "route 2"}), "program": "ours"},
            {"not_routes": frozenset({"route 1"}), "program": "ours"},
            {"suspects": True, "program": "ours"},
            {"owner": "ada", "program": "ours", "routes": frozenset({"route 1"})},
            *({"shares": 2, "program": "ours"}, {"limits": {"route 1": 2}, "program": "ours"}),
            {
                "limits": {"route 1": 3},
                "routes": frozenset({"route 0", "route 1"}),
                "program": "ours",
            },
            *({"skip": 3, "program": "ours"}, {"worker": "worker", "states": None}),
        ):
            asked: dict[str, Any] = fields
            query = replace(QUEUED, **asked)
            number = len(await store.find(query))
            for limit in (1000, number + 1, number, 2, 0):
                query = replace(query, limit=limit)
                assert await store.count(query) == min(number, limit), query
            counted.add(number)
        assert len(counted) > 10

    async def test_a_count_goes_with_the_jobs(self, store: Store) -> None:
        """A job is counted among the queued ones of its owner and of its program as long as it is
        queued, and again when it is given back or retried."""
        queries = [
            replace(QUEUED, program="ours", owner="ada"),
            replace(QUEUED, program="ours"),
            replace(QUEUED, program="ours", routes=frozenset({"report"})),
        ]

        async def counts() -> set[int]:
            return {await store.count(query) for query in queries}

        job = await store.add(a_job(owner="ada", program="ours"), REQUEST)
        assert await counts() == {1}
        await store.replace(job, running := transitions.start(job, store.worker, NOW))
        assert await counts() == {0}
        await store.replace(running, further := transitions.report(running, Progress(1)))
        assert await counts() == {0}
        await store.replace(further, released := transitions.release(further, "given back"))
        assert await counts() == {1}
        cancelled = transitions.cancel(released, NOW, CANCELLED)
        await store.replace(released, cancelled, RESPONSE)
        assert await counts() == {0}
        await store.replace(cancelled, transitions.retry(cancelled, NOW))
        assert await counts() == {1}

    async def test_those_ahead_of_a_job_are_found_before_it(self, store: Store) -> None:
        """Ahead of a queued job are those queued ones that are due before it, and those that are
        due when it is and have come before: whatever is asked for besides, they are what is found
        in front of it, and are counted up to the limit."""
        for job in _mixed(60):
            await store.add(job, REQUEST)
        for fields in (
            *({}, {"program": "ours"}, {"owner": "ada"}),
            {"program": "ours", "routes": frozenset({"route 0", "route 1", "none"})},
            {"program": "ours", "routes": frozenset({"route 2"}), "limits": {"route 2": 1000}},
            {"program": "ours", "suspects": False},
        ):
            asked: dict[str, Any] = fields
            query = replace(QUEUED, **asked)
            queued = await store.find(query)
            assert len(queued) > 4
            for place, job in enumerate(queued):
                ahead = replace(query, ahead_of=job)
                assert await store.find(ahead) == queued[:place]
                assert await store.find(replace(ahead, states=None)) == queued[:place]
                assert await store.count(ahead) == place
                assert await store.count(replace(ahead, limit=3)) == min(place, 3)

    async def test_of_a_route_with_a_limit_so_many_are_ahead(self, store: Store) -> None:
        """Of the routes that `limits` names no more are counted ahead of a job than it says, of
        whichever programs, and whether suspects or not."""
        for job in _mixed(60):
            await store.add(job, REQUEST)
        routes = frozenset({"route 0", "route 1", "a\0b"})
        query = replace(QUEUED, program="ours", routes=routes)
        for limits in ({"route 0": 3}, {"route 0": 0, "route 1": 2}, {"a\0b": 1, "route 2": 1}):
            for job in await store.find(query):
                ahead = replace(query, ahead_of=job, limits=limits)
                for limit in (1000, 4, 0):
                    found = await store.find(replace(ahead, limit=limit))
                    assert await store.count(replace(ahead, limit=limit)) == len(found)

    async def test_a_job_that_is_given_back_goes_ahead(self, store: Store) -> None:
        """Who is ahead of a job changes with those: one that starts is no more, and one that is
        given back is again, before those that were made later."""
        query = replace(QUEUED, program="ours", routes=frozenset({"report"}))
        jobs = [
            await store.add(a_job(created=NOW + number, program="ours"), REQUEST)
            for number in range(4)
        ]
        last = replace(query, ahead_of=jobs[-1])
        assert await store.count(last) == 3
        await store.replace(jobs[1], running := transitions.start(jobs[1], store.worker, NOW))
        assert await store.count(last) == 2
        released = transitions.release(running, "given back")
        await store.replace(running, released)
        assert await store.count(last) == 3
        assert await store.count(replace(query, ahead_of=released)) == 1
        await store.replace(released, again := transitions.start(released, store.worker, NOW))
        later = transitions.postpone(again, NOW + 100, "it broke")
        await store.replace(again, later)
        assert await store.count(last) == 2
        assert await store.count(replace(query, ahead_of=later)) == 3

    async def test_ahead_of_a_job_that_is_not_there(self, store: Store) -> None:
        """Of a job that was never added, or is forgotten, those are ahead that are due before."""
        for number in (0, 1, 1, 2):
            await store.add(a_job(created=NOW + number, program="ours"), REQUEST)
        query = replace(QUEUED, program="ours", ahead_of=a_job(created=NOW + 1))
        assert await store.count(query) == len(await store.find(query)) == 1

    async def test_jobs_that_are_to_be_cancelled(self, store: Store) -> None:
        """Jobs are found that have not ended, and whose time to be cancelled has come: those first
        whose time came first."""
        times = (3.0, None, 1.0, 2.0, 1.0, 9.0)
        queued = [
            await store.add(a_job(cancel_at=at and NOW + at, created=NOW - number), REQUEST)
            for number, at in enumerate(times)
        ]
        running = transitions.start(a_job(cancel_at=NOW + 2.5), store.worker, NOW)
        await store.add(running, REQUEST)
        # As one leaves it that does not know of such times.
        await store.add(a_job(state=State.FAILED, cancel_at=NOW, expires=NOW + 60), REQUEST)
        expected = [queued[2], queued[4], queued[3], running, queued[0]]

        async def found(before: float, limit: int = 100) -> list[Job]:
            return await store.overdue(NOW + before, limit=limit)

        assert await found(1) == []
        assert await found(1.5) == expected[:2]
        assert await found(9) == expected
        assert await found(100) == [*expected, queued[5]]
        assert await found(9, limit=2) == expected[:2]
        assert await found(9, limit=0) == []

    async def test_what_is_to_be_cancelled_of_a_program(self, store: Store) -> None:
        """A program finds its own jobs whose time has come, and those that belong to anybody."""
        jobs = [
            await store.add(a_job(cancel_at=NOW - number, program=program), REQUEST)
            for number, program in enumerate((None, "ours", "theirs", "ours", None))
        ]
        ours = [job for job in reversed(jobs) if job.program != "theirs"]
        assert await store.overdue(NOW + 1, program="ours") == ours
        assert await store.overdue(NOW + 1, program="ours", limit=2) == ours[:2]
        assert await store.overdue(NOW + 1) == [*reversed(jobs)]
        assert await store.overdue(NOW + 1, program="nobody") == [jobs[4], jobs[0]]

    async def test_what_stops_or_has_ended_is_not_to_be_cancelled(self, store: Store) -> None:
        """A job that was asked to stop is found no more, whether it has ended or not, and so it is
        when it is retried."""
        job = await store.add(a_job(cancel_at=NOW), REQUEST)
        await store.replace(job, running := transitions.start(job, store.worker, NOW))
        assert await store.overdue(NOW + 1) == [running]
        await store.replace(running, asked := transitions.ask_to_cancel(running))
        assert await store.overdue(NOW + 1) == []
        cancelled = transitions.cancel(asked, NOW, CANCELLED)
        await store.replace(asked, cancelled, RESPONSE)
        assert await store.overdue(NOW + 1) == []
        await store.replace(cancelled, transitions.retry(cancelled, NOW))
        assert await store.overdue(NOW + 1) == []

    async def test_all_that_is_to_be_cancelled_is_found_in_the_end(self, store: Store) -> None:
        """Some at a time, all are found, as those that were cancelled are in nobody's way."""
        for start in range(0, 300, 100):
            await asyncio.gather(
                *(
                    store.add(a_job(cancel_at=NOW + start + number), REQUEST)
                    for number in range(100)
                )
            )
        found: list[Job] = []
        while jobs := await store.overdue(NOW + 1000, limit=70):
            found += jobs
            for job in jobs:
                await store.replace(job, transitions.cancel(job, NOW, CANCELLED), RESPONSE)
        assert [job.cancel_at for job in found] == [NOW + number for number in range(300)]


def _mixed(number: int) -> list[Job]:
    """Jobs of several routes, programs and owners, due at few times, of which some are suspects and
    some are running or have ended."""
    jobs = []
    for n in range(number):
        job = a_job(
            route=f"route {n % 3}",
            program=("ours", None, "theirs", "ours")[n % 4],
            owner=("ada", "bob", None, "ada", "eve")[n % 5],
            created=NOW + n * 7 % 5,
            crashes=n * 3 % 4,
        )
        if n % 11 == 10:
            job = transitions.start(job, "worker", NOW)
        elif n % 13 == 12:
            job = transitions.cancel(job, NOW, CANCELLED)
        jobs.append(job)
    return jobs
