"""The apps that the tests serve."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from importlib import import_module
from typing import Any

_WAITS_FOR_LOCKS = ("store", "file", "writing.checkpoints", "writing.commits")

if os.environ.get("ASYNCJOBS_STORED_WAY"):
    with suppress(ModuleNotFoundError):  # of a release from before there was such a module
        import_module("stored_way").take_for_good()


def configuration() -> dict[str, Any]:
    """What the test that started this server wants in the app's configuration.

    ``LOCK_TIMEOUT`` is how long the store waits for locks, if not as long as it really does.
    """
    config: dict[str, Any] = json.loads(os.environ["APP_CONFIG"])
    if "LOCK_TIMEOUT" in config:
        for name in _WAITS_FOR_LOCKS:
            import_module(f"asyncjobs.stores.sqlite.{name}").LOCK_TIMEOUT = config["LOCK_TIMEOUT"]  # type: ignore[attr-defined]
    return config
