"""For tests, ours and our users': what every store must do, and a clock that moves when told to.

The contract needs pytest with pytest-asyncio, in its mode ``auto``; nothing else here does. To
prove a store of your own::

    class TestMyStore(StoreContract):
        @pytest.fixture
        def make_store(self, tmp_path):
            return lambda: MyStore(tmp_path / "jobs")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .clock import NOW, FakeClock
from .samples import BROKEN, CANCELLED, INTERRUPTED, REQUEST, RESPONSE, a_job, purge_all

if TYPE_CHECKING:
    from .contract import StoreContract

__all__ = [
    "BROKEN",
    "CANCELLED",
    "INTERRUPTED",
    "NOW",
    "REQUEST",
    "RESPONSE",
    "FakeClock",
    "StoreContract",
    "a_job",
    "purge_all",
]


def __getattr__(name: str) -> Any:
    # Only now: a program that uses the clock need not have pytest.
    if name == "StoreContract":
        from .contract import StoreContract

        return StoreContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
