"""What every store promises, as tests: for those who use one alone, and for those who share it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import pytest

from ..store import Store
from .one_store import OneStore
from .two_stores import TwoStores


class StoreContract(OneStore, TwoStores):
    """What every store promises. Subclass it with a fixture `make_store`.

    The fixture gives a function that makes a store, which is not open yet. All that are made for
    one test are on one database, which has nothing in it before: each stands for a process, and
    what one of them does the others must see, hear of, and not get in the way of.

    Attributes:
        only_one: why nobody else can have the database of such a store open, if that is so: then
            what takes two stores is no part of the contract, and is not collected.
    """

    only_one: ClassVar[str | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.only_one is not None:
            for name in vars(TwoStores):
                if name.startswith("test_"):
                    setattr(cls, name, None)

    @pytest.fixture
    def make_store(self) -> Callable[[], Store]:
        """Makes stores on one database; to be overridden."""
        pytest.fail(f"give {type(self).__name__} a fixture `make_store`: see StoreContract")

    @pytest.fixture
    async def store(self, make_store: Callable[[], Store]) -> AsyncIterator[Store]:
        """An open store."""
        async with make_store() as store:
            yield store

    @pytest.fixture
    async def peer(self, store: Store, make_store: Callable[[], Store]) -> AsyncIterator[Store]:
        """Another one on the database of `store`, as another process would have it."""
        async with make_store() as peer:
            yield peer
