"""Settings: known names, right types, sensible ranges, or an error that says which and why."""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import fields
from decimal import Decimal
from inspect import signature
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quart import Quart

from asyncjobs import Jobs, QuartJobs
from asyncjobs.errors import ConfigurationError
from asyncjobs.handler import RouteOptions, RouteSettings
from asyncjobs.settings import Options, Settings, make_settings
from asyncjobs.stores import MemoryStore, SqliteStore, open_url


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("threds", 3, "no setting 'threds'; the settings are: body_timeout, concurrency"),
        ("threads", "3", "'threads' must be int, not '3'"),
        ("threads", True, "'threads' must be int, not True"),
        ("threads", 0, "'threads' must be at least 1, not 0"),
        ("ttl", None, "'ttl' must be int or float, not None"),
        ("ttl", -1, "'ttl' must be at least 0, not -1"),
        ("timeout", "1h", "'timeout' must be int or float or None, not '1h'"),
        ("ttl", math.nan, "'ttl' must be a number, and no larger than a float can be, not nan"),
        ("ttl", -math.inf, "'ttl' must be at least 0, not -inf"),
        ("ttl", 10**400, "'ttl' must be at most 9223372036854775807, not 1000"),
        ("ttl", Decimal(1), "'ttl' must be int or float, not Decimal('1')"),
        ("ttl", True, "'ttl' must be int or float, not True"),
        ("timeout", math.nan, "'timeout' must be a number"),
        ("body_timeout", math.nan, "'body_timeout' must be a number"),
        ("max_wait", math.nan, "'max_wait' must be a number"),
        ("drain_time", math.nan, "'drain_time' must be a number"),
        ("gone_after", math.nan, "'gone_after' must be a number"),
        ("concurrency", 2**31, "'concurrency' must be at most 2147483647, not 2147483648"),
        ("concurrency", math.inf, "'concurrency' must be int, not inf"),
        ("threads", 2**31, "'threads' must be at most 2147483647"),
        ("max_body", 10**9 + 1, "'max_body' must be at most 1000000000"),
        ("max_response", 10**9 + 1, "'max_response' must be at most 1000000000"),
        ("store", 5, "'store' must be str or Store or None, not 5"),
        ("store", "mysql://x", "no store 'mysql://x': write 'sqlite:///jobs.db'"),
        ("engine", "celery", "no engine 'celery'"),
        ("prefix", "jobs", "'jobs' must start with a slash"),
        ("prefix", "/jobs/", "'/jobs/' must start with a slash and not end with one"),
    ],
)
async def test_a_wrong_setting_is_named(name: str, value: Any, message: str) -> None:
    """A setting that is unknown, of a wrong type or out of range is an error that says so."""
    with pytest.raises(ConfigurationError) as caught:
        async with Jobs(**{"store": "memory:", name: value}):
            pass
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("retrys", 3, "no setting 'retrys'; the settings are: concurrency, idempotent, "),
        ("retries", "3", "'retries' must be int, not '3'"),
        ("retries", True, "'retries' must be int, not True"),
        ("retries", -1, "'retries' must be at least 0, not -1"),
        ("idempotent", 1, "'idempotent' must be bool or None, not 1"),
        ("concurrency", 0, "'concurrency' must be at least 1, not 0"),
        ("timeout", "1h", "'timeout' must be int or float or None, not '1h'"),
        ("ttl", "1d", "'ttl' must be int or float or None, not '1d'"),
        ("timeout", math.nan, "'timeout' must be a number, and no larger than a float can be"),
        ("timeout", 10**400, "'timeout' must be at most 9223372036854775807"),
        ("timeout", Decimal(1), "'timeout' must be int or float or None, not Decimal('1')"),
        ("ttl", math.nan, "'ttl' must be a number"),
        ("ttl", 10**400, "'ttl' must be at most 9223372036854775807"),
        ("concurrency", 2**31, "'concurrency' must be at most 2147483647"),
        ("retries", 2**31, "'retries' must be at most 2147483647"),
    ],
)
def test_a_wrong_setting_of_a_route_is_named(name: str, value: Any, message: str) -> None:
    """A route's own setting that is wrong is an error where it is decorated."""
    for decorator in (Jobs().function, QuartJobs().background):
        with pytest.raises(ConfigurationError) as caught:
            decorator(**{name: value})
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("made", "options"),
    [(QuartJobs, Options), (QuartJobs().background, RouteOptions), (Jobs().function, RouteOptions)],
)
def test_all_that_may_be_said_is_listed(made: Callable[..., Any], options: type) -> None:
    """Who has misspelt a keyword is told of each that there is, also of those that are no
    settings."""
    keywords = {
        name for name, each in signature(made).parameters.items() if each.kind is each.KEYWORD_ONLY
    }
    with pytest.raises(ConfigurationError) as caught:
        made(mod="prefer")
    listed = str(caught.value).partition("are: ")[2].split(", ")
    assert set(listed) == keywords | options.__annotations__.keys()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_that_python_does_not_write_out(sign: int) -> None:
    """A setting of thousands of digits is an error that says so, and not one of its message."""
    with pytest.raises(ConfigurationError, match=r"'ttl' must be at .* of the type int"):
        make_settings({"ttl": sign * 10**5000})


def test_the_keywords_are_the_settings() -> None:
    """Type checkers know every setting as a keyword, with its type."""
    assert get_type_hints(Options) == get_type_hints(Settings)
    assert get_type_hints(RouteOptions) == get_type_hints(RouteSettings)
    assert make_settings({}) == Settings()


def test_store_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three slashes are relative to the working directory, four are absolute."""
    monkeypatch.chdir(tmp_path)
    relative, absolute = open_url("sqlite:///x.db"), open_url("sqlite:////srv/x.db")
    assert isinstance(relative, SqliteStore)
    assert isinstance(absolute, SqliteStore)
    assert relative.path == tmp_path / "x.db"
    assert absolute.path == Path("/srv/x.db")
    assert isinstance(open_url("memory:"), MemoryStore)


async def test_the_apps_configuration(tmp_path: Path) -> None:
    """Settings are read from QUART_JOBS_* when the app starts; what is said in code goes first."""
    app = Quart(__name__)
    jobs = QuartJobs(app, ttl=5, store="memory:")
    app.config.update(QUART_JOBS_TTL=7, QUART_JOBS_TIMEOUT=9)
    async with app.test_app(), app.app_context():
        assert jobs.jobs.settings == Settings(store="memory:", name=__name__, ttl=5, timeout=9)


@pytest.mark.parametrize("written", ["NaN", "1e400", "-1", "true", '"1"'])
@pytest.mark.parametrize("name", ["TTL", "CONCURRENCY"])
async def test_a_number_in_the_environment(
    name: str, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Quart reads from the environment is checked like any other; 1e400 is no limit there."""
    monkeypatch.setenv(f"QUART_QUART_JOBS_{name}", written)
    app = Quart(__name__)
    QuartJobs(app, store="memory:")
    app.config.from_prefixed_env()
    if (name, written) == ("TTL", "1e400"):
        async with app.test_app():
            return
    with pytest.raises(ConfigurationError, match=f"the setting '{name.lower()}' must be"):
        await app.startup()


UNREAD = {
    "QUART_JOBS_TTL": r"nobody reads QUART_JOBS_TTL .*: call app.config.from_prefixed_env\(\)",
    "QUART_QUART_JOBS_TTL": r"nobody reads QUART_QUART_JOBS_TTL .*from_prefixed_env",
    "QUART_JOBS_TTLL": r"QUART_JOBS_TTLL .*is no setting: .*'ttl', name it QUART_JOBS_TTL$",
    "QUART_QUART_JOBS_STORAGE": r"QUART_QUART_JOBS_STORAGE .*'store', name it QUART_JOBS_STORE$",
    "QUART_JOBS_ZZZ": r"QUART_JOBS_ZZZ .*is no setting: the settings are: store, name",
}


@pytest.mark.parametrize("variable", UNREAD)
async def test_a_variable_that_nobody_reads(
    variable: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A variable of the environment that is meant for us, and that no configuration has read, is
    named once at start, with what has it read, or the setting that is nearest to it."""
    monkeypatch.setenv(variable, "5")
    app = Quart(__name__)
    QuartJobs(app, store="memory:")
    async with app.test_app():
        pass
    (said,) = [line for line in caplog.messages if "QUART_JOBS" in line]
    assert re.match(UNREAD[variable], said)


@pytest.mark.parametrize(
    "how",
    [
        "by Quart",
        "by Quart, in full",
        "in code",
        "in code, as by default",
        "as an option",
        "as an option, as by default",
        "as by default",
    ],
)
async def test_a_variable_that_somebody_reads(
    how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is said of a variable that has come to a setting, by whatever way, or that would
    change none."""
    variable = "QUART_QUART_JOBS_TTL" if how == "by Quart, in full" else "QUART_JOBS_TTL"
    monkeypatch.setenv(variable, "86400" if how == "as by default" else "5")
    monkeypatch.setenv("QUART_JOB", "x")
    app = Quart(__name__)
    ttl = 86400.0 if how.endswith("default") else 60.0
    QuartJobs(app, store="memory:", **({"ttl": ttl} if how.startswith("as an option") else {}))
    if how.startswith("by Quart"):
        app.config.from_prefixed_env()
    elif how.startswith("in code"):
        app.config["QUART_JOBS_TTL"] = ttl
    async with app.test_app():
        pass
    assert "QUART_JOB" not in caplog.text


@given(st.integers() | st.floats() | st.booleans() | st.none() | st.text())
def test_any_number_of_seconds_is_taken_or_refused(value: Any) -> None:
    """What is taken as seconds can be added to a time and kept by SQLite; all else is refused."""
    try:
        settings = make_settings({"ttl": value})
    except ConfigurationError:
        return
    assert settings.ttl == value
    assert settings.ttl >= 0
    with closing(sqlite3.connect(":memory:")) as connection:
        kept, expires = connection.execute("SELECT ?, ?", (settings.ttl, 1e9 + value)).fetchone()
    assert (kept, expires) == (value, 1e9 + value)


async def test_an_unknown_name_in_the_apps_configuration(tmp_path: Path) -> None:
    """A misspelt QUART_JOBS_ name stops the app from starting, and is named."""
    app = Quart(__name__)
    QuartJobs(app, store="memory:")
    app.config["QUART_JOBS_TTLL"] = 5
    with pytest.raises(ConfigurationError, match="no setting 'QUART_JOBS_TTLL'"):
        await app.startup()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "TTL",
            "abc",
            r"'ttl' must be int or float, not 'abc' \(in the configuration {0}, in the ",
        ),
        (
            "THREADS",
            "0",
            r"'threads' must be at least 1, not 0 \(in the configuration {0}, in the ",
        ),
        ("KEEP_HEADERS", "X-Otp", r"'keep_headers' must be list .* QUART_{0}; a list is JSON\)"),
        ("KEEP_HEADERS", "[5]", r"must have names of headers, .* QUART_{0}; a list is JSON\)"),
        ("TTLS", "5", r"no setting '{0}' \(in the environment QUART_{0}\); .*QUART_JOBS_TTL,"),
    ],
)
async def test_a_wrong_value_in_the_environment(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the variable, as it is in the configuration and in the environment, and says
    that a list is JSON. What is wrong in code is named as it is there."""
    monkeypatch.setenv(f"QUART_QUART_JOBS_{name}", value)
    app = Quart(__name__)
    QuartJobs(app, store="memory:")
    app.config.from_prefixed_env()
    with pytest.raises(ConfigurationError, match=message.format(f"QUART_JOBS_{name}")):
        await app.startup()


async def test_a_wrong_value_in_code() -> None:
    """It is named as it is there, and no variable with it."""
    app = Quart(__name__)
    QuartJobs(app, store="memory:", ttl="abc")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"'ttl' must be int or float, not 'abc'$"):
        await app.startup()


async def test_the_default_store(tmp_path: Path) -> None:
    """Unless told otherwise an app keeps its jobs in its instance folder, for its user alone."""
    app = Quart(__name__, instance_path=str(tmp_path / "instance"))
    QuartJobs(app)
    async with app.test_app():
        assert (tmp_path / "instance" / "jobs.db").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "instance").stat().st_mode & 0o777 == 0o700


def test_every_setting_has_a_meaning() -> None:
    """The table in the docs can be made from the settings themselves."""
    assert all(setting.metadata["meaning"] for setting in fields(Settings))
