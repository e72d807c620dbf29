"""What is put around a method of an app: it calls that one, bears others around it, and can go."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from asyncjobs.web.around import around


class Server:
    def greet(self, name: str, *, loud: bool = False) -> str:
        """Say hello."""
        return f"Hello {name}{'!' * loud}"

    async def serve(self) -> str:
        return "served"


def marked(mark: str, there: Callable[..., str], *args: Any, **kwargs: Any) -> str:
    return f"{mark}({there(*args, **kwargs)})"


def test_ours_is_called_in_its_place_with_what_it_is_called_with() -> None:
    """Ours gets the method and all arguments; other objects of the class keep theirs."""
    server = Server()
    around(server, "greet", partial(marked, "ours"))
    assert server.greet("you", loud=True) == "ours(Hello you!)"
    assert Server().greet("you") == "Hello you"


async def test_it_is_like_the_method() -> None:
    """It has the name and the words of the method, and is a coroutine function if ours is one."""
    server = Server()

    async def serve(there: Callable[[], Any]) -> str:
        return f"ours({await there()})"

    around(server, "greet", partial(marked, "ours"))
    around(server, "serve", serve)
    assert (server.greet.__name__, server.greet.__doc__) == ("greet", "Say hello.")
    assert inspect.iscoroutinefunction(server.serve)
    assert not inspect.iscoroutinefunction(server.greet)
    assert await server.serve() == "ours(served)"


def test_it_can_be_taken_away() -> None:
    """Given back, the method has its place as if nothing had been around it; twice is once."""
    server = Server()
    give_back = around(server, "greet", partial(marked, "ours"))
    give_back()
    give_back()
    assert server.greet("you") == "Hello you"


def test_others_may_come_before_and_after() -> None:
    """Whoever was there before is called by ours, and who comes later calls ours: giving back takes
    nothing away from them."""
    server = Server()
    around(server, "greet", partial(marked, "before"))
    give_back = around(server, "greet", partial(marked, "ours"))
    around(server, "greet", partial(marked, "after"))
    give_back()
    assert server.greet("you") == "after(ours(before(Hello you)))"
