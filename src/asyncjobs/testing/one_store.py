"""What a store promises to who has it open."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest

from .. import transitions
from ..errors import Conflict, JobNotFound
from ..hints import Changed, Hint, Overruled, Queued
from ..job import Job, Progress, Request, Response, State
from ..listing import Listing, Page
from ..store import ANYONE, Liveness, Orphan, Presence, Query, Store, this_process
from .clock import NOW
from .counting import Counting
from .erasing import Erasing
from .keys import OneStoreKeys
from .samples import BROKEN, CANCELLED, REQUEST, RESPONSE, a_job, purge_all


class OneStore(Counting, Erasing, OneStoreKeys):
    """Tests with the fixture `store`, an open one that nobody else has open."""

    async def test_what_was_added_is_read_back_as_it_was(self, store: Store) -> None:
        """A job and its request are read back exactly as they were added."""
        job = transitions.start(
            a_job(owner="ada", repeatable=True, path="/\N{SNOWMAN}"), "worker", NOW
        )
        job = transitions.postpone(job, NOW + 1, "ValueError: \N{SNOWMAN}")
        job = transitions.start(job, "worker", NOW + 1)
        job = transitions.report(job, Progress(1.5, 3, "half"))
        assert await store.add(job, REQUEST) == job
        assert await store.get(job.id) == job
        assert await store.request(job.id) == REQUEST

    async def test_ids_begin_with_what_is_asked_for(self, store: Store) -> None:
        """A whole id is given if there is such a job. Of its beginning a store gives all ids that
        begin so, in their order and no more than asked for, or none at all."""
        job_ids = sorted(f"abcdef0{digit}{uuid.uuid4().hex[8:]}" for digit in "13")
        for job_id in (*job_ids, "0" * 32, "f" * 32):
            await store.add(a_job(id=job_id), REQUEST)
        for whole in (*job_ids, "0" * 32, "f" * 32):
            assert await store.ids(whole, 10) == [whole]
        for prefix in ("abcdef02", "abcdef0g", "%", "\0", "ABCDEF0", "0" * 33, uuid.uuid4().hex):
            assert await store.ids(prefix, 10) == []
        for prefix in ("abcdef", "abcdef0"):
            assert await store.ids(prefix, 10) in ([], job_ids)
            assert await store.ids(prefix, 1) in ([], job_ids[:1])
        assert await store.ids(job_ids[0][:9], 10) in ([], job_ids[:1])

    async def test_a_cancelled_add_is_all_or_nothing(self, store: Store) -> None:
        """After an add whose caller was cancelled, `get` tells once and for all whether it is."""
        job = a_job()
        adding = asyncio.create_task(store.add(job, REQUEST))
        await asyncio.sleep(0)
        adding.cancel()
        with suppress(asyncio.CancelledError):
            await adding
        try:
            assert await store.get(job.id) == job
            assert await store.request(job.id) == REQUEST
        except JobNotFound:
            await store.add(job, REQUEST)

    async def test_a_request_can_be_read_again(self, store: Store) -> None:
        """A request is there for every attempt, not for the first one only."""
        job = await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
        assert await store.request(job.id) == await store.request(job.id) == REQUEST

    async def test_the_smallest_request_and_job(self, store: Store) -> None:
        """Fields that are empty or missing are read back as such."""
        request = Request(method="GET", path="/")
        job = await store.add(a_job(), request)
        assert (await store.get(job.id), await store.request(job.id)) == (job, request)

    async def test_an_id_is_taken_once(self, store: Store) -> None:
        """A second job with the same id is a conflict, and the first one stays as it is."""
        job = await store.add(a_job(), REQUEST)
        with pytest.raises(Conflict):
            await store.add(a_job(id=job.id, route="other"), Request("GET", "/other"))
        assert await store.get(job.id) == job
        assert await store.request(job.id) == REQUEST

    @pytest.mark.parametrize("job_id", ["0" * 32, "", "x", "\N{SNOWMAN}", "a" * 31, "A" * 32])
    async def test_unknown_ids(self, store: Store, job_id: str) -> None:
        """An id that no job has is not found, whatever it looks like."""
        await store.add(a_job(id="a" * 32), REQUEST)
        for read in (store.get, store.request, store.response):
            with pytest.raises(JobNotFound):
                await read(job_id)

    async def test_a_foreign_job_is_not_found(self, store: Store) -> None:
        """A job is found by its owner and by who asks for anyone's, and by nobody else."""
        hers = await store.add(a_job(owner="ada"), REQUEST)
        nobodys = await store.add(a_job(), REQUEST)
        assert await store.get(hers.id, "ada") == await store.get(hers.id, ANYONE) == hers
        assert await store.get(nobodys.id, None) == nobodys
        for job, owner in [(hers, "bob"), (hers, None), (hers, "\udcff"), (nobodys, "ada")]:
            with pytest.raises(JobNotFound):
                await store.get(job.id, owner)

    async def test_a_job_without_a_result_has_no_response(self, store: Store) -> None:
        """There is no response before the job is final."""
        job = await store.add(a_job(), REQUEST)
        with pytest.raises(JobNotFound):
            await store.response(job.id)

    async def test_replace(self, store: Store) -> None:
        """A replaced job is read back as it is now, with its response, again and again."""
        job = await store.add(a_job(), REQUEST)
        running = transitions.start(job, store.worker, NOW)
        await store.replace(job, running)
        assert await store.get(job.id) == running
        final = transitions.finish(running, RESPONSE.status, NOW + 1)
        await store.replace(running, final, RESPONSE)
        assert await store.get(job.id) == final
        assert await store.response(job.id) == await store.response(job.id) == RESPONSE

    async def test_a_result_is_the_job_with_its_response(self, store: Store) -> None:
        """What a poll reads is the job, with its response once it is final, for its owner only."""
        job = await store.add(transitions.start(a_job(owner="ada"), store.worker, NOW), REQUEST)
        assert await store.result(job.id, "ada") == (job, None)
        final = transitions.finish(job, RESPONSE.status, NOW + 1)
        await store.replace(job, final, RESPONSE)
        assert await store.result(job.id) == await store.result(job.id, "ada") == (final, RESPONSE)
        for job_id, owner in [(job.id, "bob"), (job.id, None), ("0" * 32, ANYONE)]:
            with pytest.raises(JobNotFound):
                await store.result(job_id, owner)

    async def test_a_stale_write_changes_nothing(self, store: Store) -> None:
        """A write that is based on an older version is a conflict and changes nothing."""
        job = await store.add(a_job(), REQUEST)
        running = transitions.start(job, store.worker, NOW)
        await store.replace(job, running)
        for stale in (job, running._replace(version=running.version + 1)):
            with pytest.raises(Conflict):
                await store.replace(
                    stale, transitions.cancel(stale, NOW, CANCELLED) if stale is job else stale
                )
        final = transitions.finish(running, 200, NOW)
        with pytest.raises(Conflict):
            await store.replace(job, final, RESPONSE)
        assert await store.get(job.id) == running
        with pytest.raises(JobNotFound):
            await store.response(job.id)

    async def test_a_job_that_is_not_there_cannot_be_replaced(self, store: Store) -> None:
        """To replace a job that was never added, or that was purged, is a conflict."""
        job = a_job()
        with pytest.raises(Conflict):
            await store.replace(job, transitions.start(job, "worker", NOW))

    async def test_of_writers_at_the_same_time_one_wins(self, store: Store) -> None:
        """Of many writes based on one version exactly one succeeds, and that one is kept."""
        job = await store.add(a_job(), REQUEST)
        rivals = [transitions.start(job, f"worker {number}", NOW) for number in range(20)]
        outcomes = await asyncio.gather(
            *(store.replace(job, rival) for rival in rivals), return_exceptions=True
        )
        winners = [rival for rival, error in zip(rivals, outcomes, strict=True) if error is None]
        assert [await store.get(job.id)] == winners
        assert all(isinstance(error, Conflict) for error in outcomes if error is not None)

    async def test_writes_are_applied_in_the_order_of_their_calls(self, store: Store) -> None:
        """Writes that are based on each other can be on their way at the same time."""
        job = await store.add(a_job(), REQUEST)
        running = transitions.start(job, store.worker, NOW)
        further = transitions.report(running, Progress(1))
        final = transitions.finish(further, 200, NOW)
        await asyncio.gather(
            store.replace(job, running),
            store.replace(running, further),
            store.replace(further, final, RESPONSE),
        )
        assert await store.get(job.id) == final

    async def test_a_retried_job_loses_its_response(self, store: Store) -> None:
        """A job that is not final any more has no response, until it gets a new one."""
        job = await store.add(a_job(), REQUEST)
        failed = transitions.fail(job, NOW, BROKEN)
        await store.replace(job, failed, RESPONSE)
        again = transitions.retry(failed, NOW)
        await store.replace(failed, again)
        with pytest.raises(JobNotFound):
            await store.response(job.id)
        running = transitions.start(again, store.worker, NOW)
        await store.replace(again, running)
        new = Response(200, (), b"new")
        await store.replace(running, transitions.finish(running, 200, NOW), new)
        assert await store.response(job.id) == new

    async def test_find_by_each_field(self, store: Store) -> None:
        """A query finds the jobs that match all of its fields, and no others."""
        queued = await store.add(a_job(owner="ada", created=NOW), REQUEST)
        other = await store.add(a_job(route="other", created=NOW + 1), REQUEST)
        running = transitions.start(a_job(created=NOW + 2), "worker", NOW)
        await store.add(running, REQUEST)
        asked = transitions.ask_to_cancel(running)
        await store.replace(running, asked)
        running = asked

        async def found(**fields: Any) -> list[Job]:
            return await store.find(Query(**fields))

        assert await found() == [queued, other, running]
        assert await found(states=frozenset({State.QUEUED})) == [queued, other]
        assert await found(states=frozenset({State.RUNNING, State.QUEUED})) == [
            *(queued, other, running)
        ]
        assert await found(states=frozenset({State.FAILED})) == []
        assert await found(routes=frozenset({"report"})) == [queued, running]
        assert await found(routes=frozenset({"report", "other"})) == [queued, other, running]
        assert await found(routes=frozenset()) == []
        assert await found(not_routes=frozenset({"report"})) == [other]
        assert await found(not_routes=frozenset()) == [queued, other, running]
        assert await found(
            states=frozenset({State.QUEUED}), not_routes=frozenset({"a", "other", "z"})
        ) == [queued]
        assert await found(owner="ada") == [queued]
        assert await found(owner=None) == [other, running]
        assert await found(worker="worker") == [running]
        assert await found(cancel_requested=True) == [running]
        assert await found(cancel_requested=False) == [queued, other]
        assert await found(states=frozenset({State.QUEUED}), routes=frozenset({"other"})) == [other]

    async def test_find_the_jobs_of_a_program(self, store: Store) -> None:
        """A program finds its own jobs and those that belong to anybody, and no others."""
        ours = await store.add(a_job(program="ours", created=NOW), REQUEST)
        theirs = await store.add(a_job(program="theirs", created=NOW + 1), REQUEST)
        anybodys = await store.add(a_job(created=NOW + 2), REQUEST)
        for query in (
            Query(),
            Query(states=frozenset({State.QUEUED}), routes=frozenset({"report"})),
        ):
            assert await store.find(query) == [ours, theirs, anybodys]
            assert await store.find(replace(query, program="ours")) == [ours, anybodys]
            assert await store.find(replace(query, program="other")) == [anybodys]

    async def test_find_suspects(self, store: Store) -> None:
        """Jobs that may be the reason why their processes died are found apart from others."""
        healthy = [await store.add(a_job(crashes=crashes), REQUEST) for crashes in (0, 1)]
        suspects = [await store.add(a_job(crashes=crashes), REQUEST) for crashes in (2, 4)]
        queued = Query(states=frozenset({State.QUEUED}))
        assert await store.find(replace(queued, suspects=False)) == healthy
        assert await store.find(replace(queued, suspects=True)) == suspects
        assert await store.find(queued) == [*healthy, *suspects]

    async def test_the_programs_that_have_work_to_do(self, store: Store) -> None:
        """The store can tell which programs have jobs that are still to be done."""
        assert await store.programs() == frozenset()
        await store.add(a_job(), REQUEST)
        for route in ("report", "other"):
            await store.add(a_job(program="queues", route=route), REQUEST)
        await store.add(transitions.start(a_job(program="runs"), store.worker, NOW), REQUEST)
        ended = await store.add(a_job(program="has done it all"), REQUEST)
        await store.replace(ended, transitions.cancel(ended, NOW, CANCELLED), RESPONSE)
        assert await store.programs() == {"queues", "runs"}

    async def test_find_gives_the_oldest_due_first(self, store: Store) -> None:
        """The oldest due jobs come first, in the order they were added where they are due alike."""
        late = await store.add(a_job(created=NOW + 5), REQUEST)
        early = [await store.add(a_job(created=NOW), REQUEST) for _ in range(5)]
        first = await store.add(a_job(created=NOW - 5, route="other"), REQUEST)
        assert await store.find(Query()) == [first, *early, late]
        assert await store.find(Query(limit=3)) == [first, *early[:2]]
        routes = frozenset({"report", "other"})
        assert await store.find(Query(routes=routes, limit=3)) == [first, *early[:2]]

    async def test_find_skips_the_oldest(self, store: Store) -> None:
        """The oldest of what is found can be left out, whatever is asked for."""
        jobs = [await store.add(a_job(created=NOW + number), REQUEST) for number in range(5)]
        other = await store.add(a_job(created=NOW - 1, route="other"), REQUEST)
        assert await store.find(Query(skip=2)) == jobs[1:]
        assert await store.find(Query(skip=9)) == []
        for routes, all_found in (({"report"}, jobs), ({"report", "other"}, [other, *jobs])):
            query = Query(states=frozenset({State.QUEUED}), routes=frozenset(routes), skip=1)
            assert await store.find(query) == all_found[1:]
            assert await store.find(replace(query, limit=2)) == all_found[1:3]

    async def test_find_no_more_of_a_route_than_its_limit(self, store: Store) -> None:
        """Where a route has a limit, its oldest jobs are found and then those of others, whosever
        they are; none is left out by it that would have been found without the surplus."""
        queued = [
            await store.add(
                a_job(created=NOW + number, route=route, program=program, crashes=crashes), REQUEST
            )
            for number, (route, program, crashes) in enumerate(
                [
                    *[("report", "ours", 0), ("report", None, 0), ("report", "theirs", 0)],
                    *[("report", "ours", 2), ("other", "ours", 0), ("report", None, 2)],
                    *[("other", None, 0), ("other", "ours", 0), ("third", "ours", 0)],
                ]
            )
        ]
        ours = [job for job in queued if job.program != "theirs"]
        running = await store.add(
            transitions.start(a_job(created=NOW + 9, program="ours"), store.worker, NOW), REQUEST
        )

        async def found(**fields: Any) -> list[Job]:
            return await store.find(Query(**fields))

        states = frozenset({State.QUEUED})
        for fields, expected in (
            ({"states": states, "program": "ours"}, ours),
            ({"states": states}, queued),
            ({"program": "ours"}, [*ours, running]),
            ({}, [*queued, running]),
        ):
            for limits in ({"report": 1}, {"report": 2, "other": 1}, {"report": 0}, {"x": 1}, {}):
                left = dict(limits)
                most = [job for job in expected if _takes_one(left, job.route)]
                assert await found(**fields, limits=limits) == most
                assert await found(**fields, limits=limits, limit=2) == most[:2]
                assert await found(**fields, limits=limits, limit=1, skip=2) == most[2:3]
        some = frozenset({"report", "third"})
        limited = {"routes": some, "limits": {"report": 1, "other": 1}, "suspects": False}
        assert await found(states=states, program="ours", **limited) == [queued[0], queued[8]]

    async def test_shares_of_what_is_found(self, store: Store) -> None:
        """Each job is in one share, in the same whenever it is asked, and no share has nearly all
        of many; so also of a route whose jobs have come in turn with those of others."""
        jobs = [
            await store.add(a_job(route=f"route {n % 4}", created=NOW - n % 9), REQUEST)
            for n in range(400)
        ]
        query = Query(states=frozenset({State.QUEUED}), program="ours", limit=1000)
        for asked, expected in ((query, 400), (replace(query, routes=frozenset({"route 1"})), 100)):
            all_found = await store.find(asked)
            shares = [await store.find(replace(asked, share=n, shares=4)) for n in range(4)]
            assert shares == [
                [job for job in all_found if job in share] for share in map(frozenset, shares)
            ]
            assert sorted(chain(*shares)) == sorted(all_found)
            assert len(all_found) == expected
            assert max(map(len, shares)) < expected / 2
            assert await store.find(replace(asked, share=3, shares=4, limit=7)) == shares[3][:7]
        assert len(await store.find(Query(limit=1000))) == len(jobs)

    async def test_versions(self, store: Store) -> None:
        """The versions of many jobs are read at once; what is no job's id is left out."""
        jobs = [await store.add(a_job(), REQUEST) for _ in range(3)]
        started = transitions.start(jobs[1], store.worker, NOW)
        await store.replace(jobs[1], started)
        others = (uuid.uuid4().hex, "", "0", "queued", jobs[2].id.upper(), "\N{SNOWMAN}" * 32)
        asked = [jobs[0].id, *others, jobs[1].id, jobs[0].id]
        expected = {jobs[0].id: jobs[0].version, jobs[1].id: started.version}
        assert await store.versions(asked) == expected
        assert await store.versions(others) == {}
        assert await store.versions([]) == {}

    async def test_purge(self, store: Store) -> None:
        """Final jobs that have expired are forgotten with their bodies; all others stay."""
        finished = []
        for ttl in (10, 20):
            job = await store.add(a_job(ttl=ttl), REQUEST)
            done = transitions.fail(job, NOW, BROKEN)
            await store.replace(job, done, RESPONSE)
            finished.append(done)
        waiting = await store.add(a_job(created=NOW - 1000), REQUEST)
        assert await store.purge(NOW) == 0
        assert await purge_all(store, NOW + 15) == 1
        assert await store.purge(NOW + 15) == 0
        gone, kept = finished
        for read in (store.get, store.request, store.response):
            with pytest.raises(JobNotFound):
                await read(gone.id)
        assert await store.get(kept.id) == kept
        assert await store.response(kept.id) == RESPONSE
        assert await store.get(waiting.id) == waiting

    async def test_purge_of_many(self, store: Store) -> None:
        """A purge forgets some of those that have expired, as long as there are any, and so all of
        them in the end, however many."""
        jobs = [await store.add(a_job(), REQUEST) for _ in range(250)]
        await asyncio.gather(
            *(store.replace(job, transitions.fail(job, NOW, BROKEN), RESPONSE) for job in jobs)
        )
        left = len(jobs)
        while purged := await store.purge(NOW + 61):
            left -= purged
            assert len(await store.find(Query(limit=len(jobs)))) == left
        assert left == 0

    async def test_space_is_given_back_in_the_end(self, store: Store) -> None:
        """A store that gives space back comes to an end with that, and has all that it had."""
        jobs = [await store.add(a_job(), REQUEST) for _ in range(50)]
        large = replace(RESPONSE, body=bytes(100_000))
        for job in jobs[1:]:
            await store.replace(job, transitions.fail(job, NOW, BROKEN), large)
        await purge_all(store, NOW + 61)
        async with asyncio.timeout(60):
            while await store.shrink():
                pass
        assert await store.find(Query()) == jobs[:1]
        assert await store.request(jobs[0].id) == REQUEST

    async def test_a_purge_wakes_nobody(self, store: Store) -> None:
        """Who waits for other jobs hears nothing of a purge: it may have a thousand slices."""
        job = await store.add(a_job(), REQUEST)
        await store.replace(job, transitions.fail(job, NOW, BROKEN), RESPONSE)
        changes = store.changes()
        assert await purge_all(store, NOW + 61) == 1
        another = await store.add(a_job(), REQUEST)
        assert await anext(changes) == Changed(another.id)

    async def test_a_purge_forgets_no_job_that_is_retried(self, store: Store) -> None:
        """A job that is retried while expired ones are forgotten is kept, or that is a conflict."""
        job = await store.add(a_job(), REQUEST)
        failed = transitions.fail(job, NOW, BROKEN)
        await store.replace(job, failed, RESPONSE)
        again = transitions.retry(failed, NOW)
        retried, purged = await asyncio.gather(
            store.replace(failed, again), store.purge(NOW + 61), return_exceptions=True
        )
        if retried is None:
            assert purged == 0
            assert await store.get(job.id) == again
            assert await store.request(job.id) == REQUEST
        else:
            assert isinstance(retried, Conflict)

    async def test_a_purged_request_is_forgotten(self, store: Store) -> None:
        """A request is forgotten with its job, also if nobody ever read it."""
        job = await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
        await store.replace(job, transitions.fail(job, NOW, BROKEN), RESPONSE)
        assert await purge_all(store, NOW + 61) == 1
        with pytest.raises(JobNotFound):
            await store.request(job.id)

    async def test_changes_tell_of_adds_and_replaces(self, store: Store) -> None:
        """Who listens hears of every job that is added or replaced after that, once it is."""
        changes = store.changes()
        job = await store.add(a_job(), REQUEST)
        await _heard(changes, Changed(job.id))
        await store.replace(job, transitions.start(job, store.worker, NOW))
        await _heard(changes, Changed(job.id))

    async def test_who_listens_hears_of_each_job_that_is_queued(self, store: Store) -> None:
        """Each write of this very process that leaves a job to be started is hinted at, with the
        route: a new job, one that is given back, one that is retried."""
        changes = store.changes()
        job = await store.add(a_job(route="a\0b"), REQUEST)
        await _heard(changes, Queued("a\0b"))
        running = transitions.start(job, store.worker, NOW)
        await store.replace(job, running)
        released = transitions.release(running, "given back")
        await store.replace(running, released)
        await _heard(changes, Queued("a\0b"))
        cancelled = transitions.cancel(released, NOW, CANCELLED)
        await store.replace(released, cancelled, RESPONSE)
        await store.replace(cancelled, transitions.retry(cancelled, NOW))
        await _heard(changes, Queued("a\0b"))

    async def test_who_runs_a_job_hears_that_it_is_to_stop(self, store: Store) -> None:
        """A job that runs here and is asked to stop here is hinted at as one that is asked to by
        somebody else."""
        job = await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
        changes = store.changes()
        await store.replace(job, transitions.ask_to_cancel(job))
        await _heard(changes, Overruled())

    async def test_to_read_and_to_follow_change_nothing(self, store: Store) -> None:
        """Any job can be followed, again and again, whoever runs it and whether it is there."""
        queued = await store.add(a_job(), REQUEST)
        await store.replace(queued, running := transitions.start(queued, store.worker, NOW))
        gone = a_job()
        for job in (
            queued,
            running,
            running,
            transitions.fail(running, NOW, BROKEN),
            gone,
            transitions.start(gone, "x\0", NOW),
        ):
            store.follow(job)
        assert await store.get(queued.id) == running
        with pytest.raises(JobNotFound):
            await store.get(gone.id)

    async def test_a_store_tells_the_time(self, store: Store) -> None:
        """All who use a store can go by its time, in seconds since the epoch."""
        before = store.now()
        await store.add(a_job(), REQUEST)
        assert NOW <= before <= store.now()

    async def test_every_listener_hears_of_a_change(self, store: Store) -> None:
        """Hints go to all who listen."""
        listeners = [store.changes() for _ in range(3)]
        job = await store.add(a_job(), REQUEST)
        for changes in listeners:
            await _heard(changes, Changed(job.id))

    async def test_an_open_store_is_well(self, store: Store) -> None:
        """A store that would take a new job says nothing when it is asked how it does."""
        assert await store.health() is None

    async def test_jobs_of_living_workers_are_no_orphans(self, store: Store) -> None:
        """The running jobs of this very process are not taken for orphans."""
        await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
        assert await store.liveness(store.worker) is Liveness.ALIVE
        assert await store.orphans() == []

    @pytest.mark.parametrize(
        "worker", ["0" * 16, "worker", "", "wor\0ker", "../worker", "\N{SNOWMAN}", "w" * 5000, None]
    )
    async def test_jobs_of_nobody_are_orphans(self, store: Store, worker: str | None) -> None:
        """A running job whose worker nobody ever was is an orphan until it is decided about. It is
        not to blame, as nobody has died of it."""
        running = a_job(state=State.RUNNING, worker=worker, attempt=1)
        job = await store.add(running, REQUEST)
        if worker is not None:
            assert await store.liveness(worker) is Liveness.DEAD
        assert await store.orphans() == [Orphan(job, blamed=False)]
        await store.replace(job, transitions.release(job, "given back"))
        assert await store.orphans() == []

    async def test_what_does_not_run_is_no_orphan(self, store: Store) -> None:
        """A job that is queued or final is not an orphan, whoever is named in it."""
        for state in State:
            if state is not State.RUNNING:
                await store.add(a_job(state=state, worker="0" * 16), REQUEST)
        assert await store.orphans() == []

    async def test_a_store_does_not_count_itself_among_the_others(self, store: Store) -> None:
        """What is announced is for the others, and may change; here there are none."""
        assert await store.others() == []
        for stopping in (False, True, False):
            store.announce(Presence("app", frozenset({"report", "\ud800"}), stopping))
            assert await store.others() == []

    def test_a_presence_names_its_process(self) -> None:
        """Two presences of one process tell that they are."""
        assert Presence("app", None).process == Presence(None, None).process == this_process()

    async def test_a_listing_has_the_newest_first(self, store: Store) -> None:
        """Jobs are listed from the newest to the oldest by when they were made, also where a clock
        was set back; those that were made at the same time, from the last that came to the first.
        Neither when they are due nor what becomes of them changes that."""
        first = await store.add(a_job(created=NOW + 1), REQUEST)
        late = await store.add(a_job(created=NOW + 5), REQUEST)
        alike = [await store.add(a_job(created=NOW + 1), REQUEST) for _ in range(3)]
        early = await store.add(a_job(created=NOW - 5), REQUEST)
        postponed = transitions.postpone(
            transitions.start(first, store.worker, NOW), NOW + 100, "it broke"
        )
        await store.replace(first, postponed)
        expected = [late, *reversed(alike), postponed, early]
        assert await store.list(Listing()) == Page(expected, None)
        assert await _all_listed(store, Listing(limit=1)) == expected

    async def test_a_listing_by_each_field(self, store: Store) -> None:
        """A listing has the jobs that match all of its fields, and no others, on however many
        pages."""
        hers = await store.add(a_job(owner="ada", program="ours"), REQUEST)
        his = await store.add(a_job(owner="bob", route="other"), REQUEST)
        theirs = await store.add(a_job(created=NOW + 1, program="theirs"), REQUEST)
        job = await store.add(a_job(created=NOW + 2, route="other"), REQUEST)
        done = transitions.fail(job, NOW + 3, BROKEN)
        await store.replace(job, done, RESPONSE)
        odd = await store.add(a_job(created=NOW - 1, route="other\0b", owner="ada\0b"), REQUEST)
        newest_first = [done, theirs, his, hers, odd]
        for listing, expected in [
            (Listing(), newest_first),
            (Listing(owner="ada"), [hers]),
            (Listing(owner="eve"), []),
            (Listing(owner="ada\0"), []),
            (Listing(owner=None), [done, theirs]),
            (Listing(owner="ada\0b"), [odd]),
            (Listing(program="ours"), [done, his, hers, odd]),
            (Listing(program="ours\0"), [done, his, odd]),
            (Listing(states=frozenset({State.FAILED})), [done]),
            (Listing(states=frozenset({State.QUEUED, State.FAILED})), newest_first),
            (Listing(states=frozenset({State.QUEUED}), owner=None), [theirs]),
            (Listing(states=frozenset()), []),
            (Listing(routes=frozenset({"other", "\N{SNOWMAN}"})), [done, his]),
            (Listing(routes=frozenset({"other\0b"})), [odd]),
            (Listing(routes=frozenset({"other\0", "\0", "other\1B"})), []),
            (Listing(routes=frozenset()), []),
            (Listing(since=NOW + 1), [done, theirs]),
            (Listing(since=NOW + 1, program="ours", owner=None), [done]),
            (Listing(since=NOW + 9), []),
        ]:
            for limit in (1, 2, 1000):
                assert await _all_listed(store, replace(listing, limit=limit)) == expected, listing

    async def test_a_page_ends_where_the_next_one_begins(self, store: Store) -> None:
        """A page that leaves nobody out is full if there is more, and the last one says that it
        is."""
        jobs = [await store.add(a_job(), REQUEST) for _ in range(4)]
        jobs.reverse()
        assert await store.list(Listing(limit=4)) == Page(jobs, None)
        page = await store.list(Listing(limit=2))
        assert page.jobs == jobs[:2]
        assert page.next is not None
        assert await store.list(Listing(limit=2, before=page.next)) == Page(jobs[2:], None)
        await store.replace(jobs[2], transitions.cancel(jobs[2], NOW, CANCELLED), RESPONSE)
        await store.replace(jobs[3], transitions.cancel(jobs[3], NOW, CANCELLED), RESPONSE)
        assert await purge_all(store, NOW + 61) == 2
        assert await store.list(Listing(before=page.next)) == Page([], None)

    async def test_a_listing_is_as_it_was_where_jobs_come_change_and_go(self, store: Store) -> None:
        """Of the jobs that are there from the first page to the last, none is listed twice or left
        out, whatever happens between two pages: also where that is of the same time."""
        jobs = [await store.add(a_job(), REQUEST) for _ in range(30)]
        listing, seen = Listing(limit=3), list[Job]()
        while True:
            page = await store.list(listing)
            seen += page.jobs
            if page.next is None:
                break
            listing = replace(listing, before=page.next)
            # What was listed last goes, what is in the middle of the rest changes, and others come.
            await store.replace(
                page.jobs[-1], transitions.cancel(page.jobs[-1], NOW, CANCELLED), RESPONSE
            )
            await purge_all(store, NOW + 61)
            left = await store.get(jobs[(len(jobs) - len(seen)) // 2].id)
            if left.state is State.QUEUED:
                await store.replace(left, transitions.start(left, store.worker, NOW))
            await store.add(a_job(route="new"), REQUEST)
        assert [job.id for job in seen if job.route != "new"] == [job.id for job in reversed(jobs)]
        assert len({job.id for job in seen}) == len(seen)

    async def test_a_listing_comes_to_what_is_rare(self, store: Store) -> None:
        """Page by page a listing comes to the one job that it wants, behind however many others,
        of one owner or of all."""
        wanted = await store.add(a_job(route="rare", owner="ada"), REQUEST)
        for _ in range(30):
            await asyncio.gather(*(store.add(a_job(owner="ada"), REQUEST) for _ in range(50)))
        for listing in (
            Listing(routes=frozenset({"rare"})),
            Listing(routes=frozenset({"rare"}), owner="ada", limit=1000),
        ):
            assert await _all_listed(store, listing) == [wanted]


async def _all_listed(store: Store, listing: Listing) -> list[Job]:
    """The jobs of all pages."""
    jobs: list[Job] = []
    while True:
        page = await store.list(listing)
        assert len(page.jobs) <= listing.limit
        jobs += page.jobs
        if page.next is None:
            return jobs
        listing = replace(listing, before=page.next)


def _takes_one(left: dict[str, int], route: str) -> bool:
    """Whether there is one left of this route; then it is taken."""
    left[route] = left.get(route, 1000) - 1
    return left[route] >= 0


async def _heard(changes: AsyncIterator[Hint], hint: Hint) -> None:
    """Wait until there is this hint."""
    async with asyncio.timeout(10):
        while await anext(changes) != hint:
            pass
