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
