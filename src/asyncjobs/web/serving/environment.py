"""Settings in the app's configuration, and in the environment that it may be read from.

``QUART_JOBS_TTL`` is what a setting is called in both: `Quart.config.from_prefixed_env` takes the
``QUART_`` off, and so ``JOBS_TTL`` counts as well. Quart reads the environment only if told to:
that is easily forgotten, and nothing fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, NamedTuple

from ...errors import ConfigurationError
from ...settings import NAMES, Settings, make_settings

CONFIG = "QUART_JOBS_"
_TAKEN_OFF = "QUART_"
#: As a configuration reads them from the environment, both.
_VARIABLES = (f"{_TAKEN_OFF}{CONFIG}", CONFIG)
_DEFAULTS = {setting.name: setting.default for setting in fields(Settings)}
_LISTS = {setting.name for setting in fields(Settings) if setting.metadata["kind"] is NAMES}
_ALL = "the settings are: " + ", ".join(_DEFAULTS)


class Configured(NamedTuple):
    """What the configuration says of one setting.

    Attributes:
        key: what it is called there.
    """

    name: str
    key: str
    value: Any

    @property
    def where(self) -> str:
        """Where it was said, for who has to change it: nobody has written the setting's name."""
        hint = "; a list is JSON" if self.name in _LISTS else ""
        said = f"in the configuration {self.key}, in the environment {_TAKEN_OFF}{self.key}{hint}"
        if self.key != key_of(self.name):
            said += f"; if the app has that for itself, set {key_of(self.name)}, which goes first"
        return said


def key_of(name: str) -> str:
    """What a setting is called in the configuration."""
    return f"{CONFIG}{name.upper()}"


def configured(config: Mapping[str, Any]) -> Iterator[Configured]:
    """What the configuration says of each setting; its default, where that says nothing."""
    for name, default in _DEFAULTS.items():
        full = key_of(name)
        key = next((key for key in (full, full.removeprefix(_TAKEN_OFF)) if key in config), full)
        yield Configured(name, key, config.get(key, default))


def settings_said(config: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings from the configuration, and over them those given in code.

    Raises:
        ConfigurationError: the configuration has a name that is no setting.
    """
    names = [key_of(name) for name in _DEFAULTS]
    for key in config:
        if key.startswith(CONFIG) and key not in names:
            raise ConfigurationError(
                f"there is no setting {key!r} (in the environment QUART_{key}); the settings "
                f"are: {', '.join(names)}"
            )
    return {**{name: value for name, _, value in configured(config)}, **options}


def check_configured(config: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Name the variable of a value that the configuration has wrong.

    Args:
        options: what is said in code, and goes before it.

    Raises:
        ConfigurationError
    """
    for said in configured(config):
        if said.name in options:
            continue
        try:
            make_settings({said.name: said.value})
        except ConfigurationError as error:
            raise ConfigurationError(f"{error} ({said.where})") from None


def unread(
    environ: Mapping[str, str], config: Mapping[str, Any], options: Mapping[str, Any]
) -> Iterator[str]:
    """What to say of each variable that is meant for us, it seems, and that nobody heeds.

    Args:
        options: what is said in code.
    """
    heeded = {said.name for said in configured(config) if said.key in config} | options.keys()
    for variable in sorted(environ):
        prefix = next((prefix for prefix in _VARIABLES if variable.startswith(prefix)), None)
        if prefix is None:
            continue
        name = variable.removeprefix(prefix).lower()
        if name not in _DEFAULTS:
            near = get_close_matches(name, _DEFAULTS, n=1)
            hint = f"if it is meant to be {near[0]!r}, name it {key_of(near[0])}" if near else _ALL
            yield f"{variable} in the environment is no setting: {hint}"
        elif name not in heeded and _value(environ[variable]) != _DEFAULTS[name]:
            yield (
                f"nobody reads {variable} in the environment: call app.config.from_prefixed_env() "
                "before the app starts"
            )
    for said in configured(config):
        other = said.key.removeprefix(_TAKEN_OFF)
        if said.key != other and config.get(other, said.value) != said.value:
            yield (
                f"{other} in the configuration is not heeded: {said.key} is there as well, and "
                "goes first. Take out the one or the other"
            )


def _value(value: str) -> Any:
    """As Quart reads it."""
    try:
        return json.loads(value)
    except ValueError:
        return value
