"""What the environment says of the settings, where nobody has listened.

Quart reads it only if told to, and only variables with a ``QUART_`` in front of the name in the
configuration, which begins with a ``QUART_`` itself: that is easily forgotten, and nothing fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from ..settings import Settings

#: As it is read, and as it would be without the prefix that is taken off.
_PREFIXES = ("QUART_QUART_JOBS_", "QUART_JOBS_")
_ALL = "the settings are: " + ", ".join(setting.name for setting in fields(Settings))


def unread(environ: Mapping[str, str], configured: Mapping[str, Any]) -> Iterator[str]:
    """What to say of each variable that is meant for us, it seems, and that nobody has read.

    Args:
        configured: the settings, as they are.
    """
    defaults = {setting.name: setting.default for setting in fields(Settings)}
    for variable in sorted(environ):
        prefix = next((prefix for prefix in _PREFIXES if variable.startswith(prefix)), None)
        if prefix is None:
            continue
        name = variable.removeprefix(prefix).lower()
        if name in defaults:
            # What is not as by default, somebody has set, in whatever way.
            if configured.get(name) == defaults[name] != _value(environ[variable]):
                yield f"nobody reads {variable} in the environment: {_how_to_say(name)}"
        else:
            near = get_close_matches(name, defaults, n=1)
            hint = f"if it is meant to be {near[0]!r}, {_how_to_say(near[0])}" if near else _ALL
            yield f"{variable} in the environment is no setting: {hint}"


def _how_to_say(name: str) -> str:
    return (
        "call app.config.from_prefixed_env() before the app starts, and name it "
        f"{_PREFIXES[0]}{name.upper()}"
    )


def _value(value: str) -> Any:
    """As Quart reads it."""
    try:
        return json.loads(value)
    except ValueError:
        return value
