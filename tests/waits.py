"""To wait for what a test has brought about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from inspect import isawaitable

#: Nothing here takes a second on an idle machine. So long may it take on a busy one.
DEADLINE = 60.0


async def until(holds: Callable[[], object]) -> None:
    """Wait until the condition holds, be it told at once or awaited."""
    async with asyncio.timeout(DEADLINE):
        while True:
            answer = holds()
            if await answer if isawaitable(answer) else answer:
                return
            await asyncio.sleep(0.005)
