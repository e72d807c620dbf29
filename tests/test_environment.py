"""The one way from the environment: `QUART_JOBS_<NAME>`, and `app.config.from_prefixed_env()`."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from quart import Quart

from asyncjobs import QuartJobs
from asyncjobs.errors import ConfigurationError
from asyncjobs.settings import Settings

#: A value of each setting that is not its default.
VALUES: dict[str, Any] = {
    "store": "memory:",
    "name": "reports",
    "engine": "local",
    "prefix": "/tasks",
    "concurrency": 3,
    "threads": 2,
    "timeout": None,
    "ttl": 60,
    "max_body": 1000,
    "body_timeout": 1.5,
    "max_response": 1000,
    "max_wait": 5,
    "max_waiting": 8,
    "max_watching": 9,
    "max_queued": 10,
    "max_queued_per_owner": 11,
    "max_headers": 1000,
    "keep_requests": "never",
    "shield_time": 2.5,
    "drain_time": 1,
    "gone_after": None,
    "max_starts": 7,
    "drop_headers": ["x-tenant"],
    "keep_headers": ["x-otp"],
    "trusted_origins": ["https://shop.example"],
}


async def settings_of(app: Quart, jobs: QuartJobs) -> Settings:
    """What the app runs with."""
    async with app.test_app(), app.app_context():
        return jobs.jobs.settings


def test_every_setting_is_tried() -> None:
    """What is added to the settings has to be added here."""
    assert VALUES.keys() == {setting.name for setting in fields(Settings)}


@pytest.mark.parametrize("moment", ["before the jobs", "after them"])
async def test_every_setting_comes_from_the_environment(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is read under its own name, before the app has its jobs, and all but `prefix` after."""
    for name, value in VALUES.items():
        if name != "prefix" or moment == "before the jobs":
            written = value if isinstance(value, str) else json.dumps(value)
            monkeypatch.setenv(f"QUART_JOBS_{name.upper()}", written)
    app = Quart(__name__)
    jobs = QuartJobs()
    if moment == "before the jobs":
        app.config.from_prefixed_env()
    jobs.init_app(app)
    if moment == "after them":
        app.config.from_prefixed_env()
    settings = await settings_of(app, jobs)
    expected = Settings(
        **{**VALUES, **({} if moment == "before the jobs" else {"prefix": "/jobs"})}
    )
    assert settings == expected
    assert any(rule.rule.startswith(f"{settings.prefix}/") for rule in app.url_map.iter_rules())


TTL = Settings().ttl

#: What code, QUART_JOBS_TTL and JOBS_TTL say of the same; what holds, and whether that is worth a
#: word at start.
ORDER = [
    (None, None, 60, 60, False),
    (None, 30, None, 30, False),
    (None, 30, 60, 30, True),
    (None, 30, 30, 30, False),
    # What is as by default, somebody may have said as well.
    (None, TTL, 60, TTL, True),
    (None, TTL, None, TTL, False),
    (None, 30, TTL, 30, True),
    (TTL, None, 60, TTL, False),
    (5, None, 60, 5, False),
    (5, 30, None, 5, False),
]


@pytest.mark.parametrize(("option", "full", "short", "holds", "said"), ORDER)
async def test_what_goes_first(
    option: float | None,
    full: float | None,
    short: float | None,
    holds: float,
    said: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What is said in code, then the name that is nobody else's. If the configuration says two
    things, one line at start names both."""
    app = Quart(__name__)
    jobs = QuartJobs(app, store="memory:", **({} if option is None else {"ttl": option}))
    if full is not None:
        app.config["QUART_JOBS_TTL"] = full
    if short is not None:
        app.config["JOBS_TTL"] = short
    assert (await settings_of(app, jobs)).ttl == holds
    lines = [line for line in caplog.messages if "JOBS_TTL" in line]
    assert len(lines) == said
    for line in lines:
        assert line.startswith("JOBS_TTL in the configuration is not heeded: QUART_JOBS_TTL is")


async def test_what_an_app_has_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    """A name that no setting has is the app's own, and nothing is said of it."""
    app = Quart(__name__)
    jobs = QuartJobs(app, store="memory:")
    app.config.update(JOBS_TTLL=1, JOBS_=2, JOBS=3, JOBS_STORAGE="here", jobs_ttl=4)
    assert (await settings_of(app, jobs)).ttl == Settings().ttl
    assert "JOBS" not in caplog.text


async def test_a_name_that_an_app_has_for_something_else() -> None:
    """If that is no value of the setting, the error says where it was said, and how to have it for
    oneself: `QUART_JOBS_` goes first, and so does what is said in code."""
    app = Quart(__name__)
    jobs = QuartJobs(app)
    app.config["JOBS_STORE"] = {"shelf": 3}
    message = r"'store' must be .*configuration JOBS_STORE, in the environment QUART_JOBS_STORE; if"
    with pytest.raises(ConfigurationError, match=f"{message} .* set QUART_JOBS_STORE, which goes"):
        await app.startup()
    app.config["QUART_JOBS_STORE"] = "memory:"
    assert (await settings_of(app, jobs)).store == "memory:"


async def test_a_list_that_is_none() -> None:
    """The error says that a list is JSON, under the name that it has in the environment."""
    app = Quart(__name__)
    QuartJobs(app, store="memory:")
    app.config["JOBS_KEEP_HEADERS"] = "X-Otp"
    with pytest.raises(ConfigurationError, match=r"QUART_JOBS_KEEP_HEADERS; a list is JSON; if"):
        await app.startup()
