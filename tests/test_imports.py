"""Who imports little loads little: each name of the package costs what it needs itself."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import asyncjobs

#: What a program needs that serves HTTP, tests, or shows something in a terminal.
HEAVY = {"click", "httpx", "hypercorn", "hypothesis", "pytest", "quart", "rich"}

#: What runs jobs, keeps them, or serves them.
RUNNER = {f"asyncjobs.{name}" for name in ("engines", "jobs", "running", "stores", "web")}

HOMES: dict[str, str] = vars(asyncjobs)["_HOMES"]

DOOR = ast.parse(Path(asyncjobs.__file__).read_text())


def modules_after(code: str) -> set[str]:
    """The modules that are there in a fresh process, once it has run `code`."""
    script = f"{code}\nimport json, sys\nprint(json.dumps([*sys.modules]))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout))


def test_the_package_alone_loads_no_runner() -> None:
    """`import asyncjobs` loads nothing that runs, keeps or serves jobs, and no database."""
    modules = modules_after("import asyncjobs")
    assert not modules & {*HEAVY, *RUNNER, "werkzeug", "sqlite3", "asyncio"}
    assert {name for name in modules if name.startswith("asyncjobs")} == {"asyncjobs"}


def test_errors_and_values_load_no_runner() -> None:
    """Who catches errors and reads jobs loads neither what runs them nor a database."""
    modules = modules_after("from asyncjobs import Job, JobNotFound, Query, Settings, State, Store")
    assert not modules & {*HEAVY, *RUNNER, "werkzeug", "sqlite3"}


def test_jobs_load_no_web() -> None:
    """`Jobs`, for embedding, loads neither Quart nor hypercorn, nor what only tests need."""
    modules = modules_after("from asyncjobs import Jobs, MemoryStore, SqliteStore, current_job")
    assert "asyncjobs.running" in modules
    assert not modules & {*HEAVY, "flask", "asyncjobs.web"}


def test_the_extension_loads_no_terminal() -> None:
    """`QuartJobs` loads Quart, and nothing of a client, a test or the terminal of its own."""
    modules = modules_after("from asyncjobs import QuartJobs")
    assert "quart" in modules
    assert not modules & {"http_sf", "httpx", "hypothesis", "pytest", "rich"}


@pytest.mark.parametrize("home", sorted({*HOMES.values()}))
def test_a_name_can_come_first(home: str) -> None:
    """Any public name can be the first that a program asks for: the order of imports is free."""
    names = [name for name in HOMES if HOMES[name] == home]
    modules_after(f"import asyncjobs\nfor name in {names}: assert hasattr(asyncjobs, name), name")


def test_everything_at_once() -> None:
    """`from asyncjobs import *` has all that is public, and nothing else."""
    names: dict[str, object] = {}
    exec("from asyncjobs import *", names)
    assert sorted(names.keys() - {"__builtins__"}) == asyncjobs.__all__


def test_the_modules_that_are_public() -> None:
    """A public module is an attribute of the package, without an import of its own."""
    modules_after("import asyncjobs\nassert asyncjobs.store.STRANGER")


def test_what_the_tools_see_is_what_there_is() -> None:
    """The imports that type checkers and editors see are those that are made: all is public."""
    (seen,) = (each for each in DOOR.body if isinstance(each, ast.If))
    imports = {
        name.name: f".{each.module or ''}"
        for each in seen.body
        if isinstance(each, ast.ImportFrom)
        for name in each.names
    }
    modules = {name for name, home in imports.items() if home == "."}
    homes = {name: home for name, home in imports.items() if home != "."}
    assert homes == HOMES
    assert vars(asyncjobs)["_PUBLIC_MODULES"] == modules
    assert sorted(homes) == asyncjobs.__all__
    assert {*homes, *modules} <= set(dir(asyncjobs))


def test_a_name_that_is_not_there() -> None:
    """A wrong name is what it is in any module: an AttributeError, or an ImportError."""
    with pytest.raises(AttributeError, match="module 'asyncjobs' has no attribute 'Job5'"):
        asyncjobs.Job5  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Job5' from 'asyncjobs'"):
        from asyncjobs import Job5  # noqa: F401
