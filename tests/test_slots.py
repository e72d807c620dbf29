"""The places of jobs: whatever they do, and whatever is done to them, none is lost or doubled."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncjobs.engines.awaited import Awaited
from asyncjobs.engines.slots import Slot, Slots
from asyncjobs.handler import Handler
from asyncjobs.job import Request
from asyncjobs.outcome import Outcome
from asyncjobs.running.threads import Threads
from asyncjobs.stores import MemoryStore

LIMIT = 2


async def perform(request: Request) -> Outcome:
    raise NotImplementedError


def a_handler(route: str, *, concurrency: int | None = None, threaded: bool = False) -> Handler:
    return Handler(route, perform, threaded, timeout=None, concurrency=concurrency, ttl=60)


FREE, NARROW = a_handler("free"), a_handler("narrow", concurrency=1)
steps = st.lists(
    st.tuples(
        st.sampled_from(["take", "suspect", "pause", "resume", "stop", "cancel", "end", "turn"]),
        st.integers(0, 5),
        st.sampled_from([FREE, NARROW]),
    ),
    max_size=40,
)


def some_slots() -> Slots:
    return Slots(LIMIT, Threads(1), Awaited(MemoryStore(), lambda: None))


class Play:
    """Jobs that come, wait, go on and end, as the steps say."""

    def __init__(self) -> None:
        self.slots = some_slots()
        self.jobs: list[Slot] = []
        self.waits: dict[Slot, int] = {}
        self.going_on: list[asyncio.Task[None]] = []

    def step(self, what: str, number: int, handler: Handler) -> None:
        if what in ("take", "suspect"):
            free = self.slots.free(handler)
            slot = self.slots.take(handler, suspect=what == "suspect")
            assert slot is None or free > 0
            self.jobs += [slot] * (slot is not None)
        elif what == "cancel" and self.going_on:
            self.going_on[number % len(self.going_on)].cancel()
        elif self.jobs:
            self._do(what, self.jobs[number % len(self.jobs)])

    def _do(self, what: str, slot: Slot) -> None:
        if what == "pause":
            slot.pause("0" * 32)
            self.waits[slot] = self.waits.get(slot, 0) + 1
        elif what in ("resume", "stop") and self.waits.get(slot, 0) > 0:
            self.waits[slot] -= 1
            resumed = slot.resume("0" * 32, go_on=what == "resume")
            self.going_on.append(asyncio.get_running_loop().create_task(resumed))
        elif what == "end":
            slot.give_back()

    async def end(self) -> None:
        """All jobs come to their ends."""
        for slot in self.jobs:
            slot.give_back()
        for task in self.going_on:
            async with asyncio.timeout(10):
                with suppress(asyncio.CancelledError):
                    await task


@settings(deadline=None)
@given(steps)
def test_no_place_is_lost_or_doubled(sequence: Sequence[tuple[str, int, Handler]]) -> None:
    """Once all jobs have ended there are as many places as in the beginning, of every limit,
    whatever they waited for, at the same time, and however that was cut short."""

    async def play() -> None:
        game = Play()
        for what, number, handler in sequence:
            game.step(what, number, handler)
            if what == "turn":
                await asyncio.sleep(0)
        await game.end()
        slots = game.slots
        assert (slots.free(FREE), slots.free(NARROW)) == (LIMIT, 1)
        assert slots.free_in_all(threaded=False) == LIMIT
        assert not slots.has_suspect
        assert slots.take(FREE, suspect=True) is not None

    asyncio.run(play())


async def test_a_suspect_that_waits_is_the_only_one() -> None:
    """A suspect stays the only one while it waits, as it would be convicted with the next one; but
    what it waits for may be a suspect as well."""
    slots = some_slots()
    first = slots.take(FREE, suspect=True)
    assert first is not None
    first.pause("0" * 32)
    assert slots.take(FREE, suspect=True) is None
    child = slots.take(FREE, suspect=True, awaited=True)
    assert child is not None
    assert slots.take(FREE, suspect=True, awaited=True) is None
    going_on = asyncio.create_task(first.resume("0" * 32, go_on=True))
    await asyncio.sleep(0)
    assert not going_on.done()
    child.give_back()
    await going_on
    first.give_back()
    assert slots.take(FREE, suspect=True) is not None


async def test_a_route_at_its_limit_holds_up_no_other() -> None:
    """A job that cannot go on because of its own route's limit takes no place from other routes."""
    slots = some_slots()
    first = slots.take(NARROW)
    assert first is not None
    first.pause("0" * 32)
    second = slots.take(NARROW)
    assert second is not None
    going_on = asyncio.create_task(first.resume("0" * 32, go_on=True))
    await asyncio.sleep(0)
    assert slots.free(FREE) == 1
    second.give_back()
    await going_on
    assert slots.free(NARROW) == 0


@pytest.mark.parametrize("begins", ["before", "after"])
async def test_a_wait_that_begins_while_another_ends(begins: str) -> None:
    """If a job begins to wait once more while it waits for its place, or has just got it, whoever
    was to go on does, and the place is somebody else's."""
    slots = some_slots()
    one = slots.take(FREE)
    assert one is not None
    one.pause("a" * 32)
    others = [slots.take(FREE) for _ in range(LIMIT)]
    going_on = asyncio.create_task(one.resume("a" * 32, go_on=True))
    await asyncio.sleep(0)
    if begins == "after":
        others[0].give_back()  # type: ignore[union-attr]
    one.pause("b" * 32)
    await going_on
    assert slots.free(FREE) == (begins == "after")
    again = asyncio.create_task(one.resume("b" * 32, go_on=True))
    for other in others:
        other.give_back()  # type: ignore[union-attr]
    await again
    assert slots.free(FREE) == LIMIT - 1
