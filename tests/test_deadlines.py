"""Time-outs: each key is called back at its time, and not if it was cleared before."""

from __future__ import annotations

import asyncio

from asyncjobs.running.deadlines import Deadlines


async def test_deadlines_pass_in_their_order() -> None:
    """Keys are called back in the order of their deadlines, whatever their time-outs are."""
    passed: list[str] = []
    last = asyncio.Event()

    def note(key: str) -> None:
        passed.append(key)
        if key == "last":
            last.set()

    deadlines = Deadlines(note)
    deadlines.set("last", 0.06)
    deadlines.set("second", 0.04)
    deadlines.set("first", 0.02)
    deadlines.set("cleared", 0.04)
    deadlines.clear("cleared", 0.04)
    deadlines.clear("never set", 0.04)
    deadlines.clear("never set", 5)
    async with asyncio.timeout(20):
        await last.wait()
    assert passed == ["first", "second", "last"]


async def test_a_timeout_can_be_used_again() -> None:
    """After all deadlines of a time-out have passed or were cleared, it works as before."""
    passed: list[str] = []
    again = asyncio.Event()

    def note(key: str) -> None:
        passed.append(key)
        again.set()

    deadlines = Deadlines(note)
    deadlines.set("cleared", 0.01)
    deadlines.clear("cleared", 0.01)
    for key in ("one", "two"):
        again.clear()
        deadlines.set(key, 0.01)
        async with asyncio.timeout(20):
            await again.wait()
    assert passed == ["one", "two"]


async def test_one_timer_for_all() -> None:
    """Many keys with the same time-out need one timer of the loop."""
    loop = asyncio.get_running_loop()
    before = len(loop._scheduled)  # type: ignore[attr-defined]
    deadlines = Deadlines(print)
    for number in range(1000):
        deadlines.set(str(number), 3600)
    assert len(loop._scheduled) == before + 1  # type: ignore[attr-defined]


def test_each_loop_has_its_own() -> None:
    """What is set in one event loop is told in that one, whatever others there are meanwhile; and
    what a closed one has left is nobody's affair."""
    told: list[tuple[str, object]] = []
    deadlines: Deadlines[str] = Deadlines(
        lambda key: told.append((key, asyncio.get_running_loop()))
    )

    async def set_two(*keys: str) -> None:
        for key in keys:
            deadlines.set(key, 0.01)

    async def until_told(count: int) -> None:
        async with asyncio.timeout(10):
            while len(told) < count:
                await asyncio.sleep(0.001)

    first, second, left = (asyncio.new_event_loop() for _ in range(3))
    left.run_until_complete(set_two("left"))
    left.close()
    first.run_until_complete(set_two("a"))
    second.run_until_complete(set_two("b"))
    first.run_until_complete(until_told(1))
    second.run_until_complete(until_told(2))
    first.run_until_complete(set_two("c"))
    first.run_until_complete(until_told(3))

    assert told == [("a", first), ("b", second), ("c", first)]
    first.close()
    second.close()
