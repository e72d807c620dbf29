"""The apps that the tests serve."""

from __future__ import annotations

import json
import os
from typing import Any


def configuration() -> dict[str, Any]:
    """What the test that started this server wants in the app's configuration."""
    config: dict[str, Any] = json.loads(os.environ["APP_CONFIG"])
    return config
