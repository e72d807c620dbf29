"""Which store a command is about: one that is named, or that of an app, which is only asked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asyncjobs.testing import a_job
from commands import keep, run
from keepers import footprint, leaves_no_trace
from schemas import make_store
from users import OWNER, as_root, give_away

APP = """
print("hello")
from quart import Quart
from asyncjobs import Jobs, MemoryStore, QuartJobs, SqliteStore
from asyncjobs.store import StoreWrapper

def refuse(*args):
    raise AssertionError("it was started")

def app_with(**options):
    app = Quart(__name__, instance_path={instance!r})
    app.before_serving(refuse)
    app.before_request(refuse)
    QuartJobs(app, **options)
    return app

default = app_with()
said = app_with(store="sqlite:///said.db")
made = app_with(store=SqliteStore("my%20jobs.db"))
strange = app_with(store=StoreWrapper(MemoryStore()))
memory = app_with(store="memory:")
wrong = app_with(store=3)
configured = app_with()
configured.config["QUART_JOBS_STORE"] = "sqlite:///said.db"
bare = Quart(__name__)
extension = QuartJobs()
embedded = Jobs(store="sqlite:///said.db")
unsaid = Jobs()
nothing = 3

def create_app():
    return said
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, with a program in it, and an environment that says nothing."""
    (tmp_path / "program.py").write_text(APP.format(instance=str(tmp_path / "instance")))
    (tmp_path / "ending.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "broken.py").write_text("import os\nos.environ['NO_SUCH_VARIABLE']\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QUART_JOBS_STORE", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in ("program", "broken", "ending"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("default", "instance/jobs.db"),
        ("said", "said.db"),
        ("create_app()", "said.db"),
        ("configured", "said.db"),
        ("embedded", "said.db"),
        ("made", "my%20jobs.db"),
        ("unsaid", "jobs.db"),
    ],
)
def test_the_store_of_an_app(folder: Path, name: str, file: str) -> None:
    """An app, a function that makes one, and a `Jobs` are asked for their store as they would open
    it: by its URL, by its path, or by default. None of them is started, and what its module prints
    is not among the lines of the command."""
    (folder / file).parent.mkdir(exist_ok=True)
    (job_id,) = keep(folder / file, a_job())
    unchanged = leaves_no_trace(folder)
    result = run("list", "--app", f"program:{name}")
    assert (result.exit_code, result.stdout.split("\t")[0]) == (0, job_id), result.stderr
    unchanged()


def test_an_app_that_has_never_run(folder: Path) -> None:
    """Its store is not there, which is an error, and nothing is made: not its instance folder."""
    unchanged = leaves_no_trace(folder)
    result = run("list", "--app", "program:default")
    assert result.exit_code == 4
    assert f"there is no store {folder / 'instance' / 'jobs.db'}" in result.stderr
    unchanged()


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("program:memory", "is in the memory of its process"),
        ("program:strange", "the store is a StoreWrapper that the program makes itself"),
        ("program:wrong", "the setting 'store' must be"),
        ("program:bare", "has no QuartJobs"),
        ("program:extension", "is a QuartJobs, and no Quart app and no Jobs: name its app"),
        ("program:nothing", "is a int, and no Quart app and no Jobs: name the store with --store"),
        (
            "program:create_app",
            "is a function, and no Quart app and no Jobs: if it makes one, write",
        ),
        ("program:missing", "cannot be imported: AttributeError"),
        ("no_program:app", "cannot be imported: ModuleNotFoundError"),
        ("broken:app", "cannot be imported: KeyError: 'NO_SUCH_VARIABLE'"),
        ("ending:app", "cannot be imported: SystemExit: 0"),
        ("program", "must be a module and a name in it"),
        ("program:", "must be a module and a name in it"),
    ],
)
def test_what_has_no_store(app: str, said: str) -> None:
    """It is a wrong use, and one line says why, without a traceback."""
    result = run("list", "--app", app)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()[-1:]) == 1
    assert "Traceback" not in result.stderr


def test_the_environment_names_the_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If nothing else does: an option goes first."""
    (there,) = keep(folder / "there.db", a_job())
    (here,) = keep(folder / "here.db", a_job())
    monkeypatch.setenv("QUART_JOBS_STORE", "sqlite:///there.db")
    assert run("list").stdout.startswith(there)
    assert run("list", store=folder / "here.db").stdout.startswith(here)


def test_no_store_is_named(folder: Path) -> None:
    """It is a wrong use: the message has the three ways, and the store that is probably meant."""
    result = run("list")
    assert result.exit_code == 2
    for way in ("--store sqlite:///", "--app module:app", "QUART_JOBS_STORE"):
        assert way in result.stderr
    assert "There is" not in result.stderr
    keep(folder / "jobs.db", a_job())
    assert "There is jobs.db here: --store sqlite:///jobs.db" in run("list").stderr
    both = run("list", "--app", "program:said", store=folder / "jobs.db")
    assert both.exit_code == 2
    assert "leave out one of them" in both.stderr


@pytest.mark.parametrize("url", ["", "jobs.db", "memory:", "sqlite:///", "postgres://db"])
def test_what_names_no_store(folder: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """It is a wrong use, and told in one line. The store of the environment is not meant then."""
    keep(folder / "there.db", a_job())
    monkeypatch.setenv("QUART_JOBS_STORE", "sqlite:///there.db")
    result = run("list", "--store", url)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.splitlines()) == 1


def junk(path: Path) -> None:
    path.write_bytes(b"junk" * 1024)


def nothing(path: Path) -> None:
    return


@pytest.mark.parametrize(("make", "said"), [(junk, "is not an SQLite"), (nothing, "no store")])
@pytest.mark.parametrize("command", ["list", "stats", "watch", "show", "cancel", "retry"])
def test_a_store_that_cannot_be_opened(
    folder: Path, command: str, make: Callable[[Path], None], said: str
) -> None:
    """Every command ends with 4 and one line that says what to do, and makes nothing."""
    make(folder / "jobs.db")
    ids = ["0" * 32] if command in ("show", "cancel", "retry") else []
    before = footprint(folder)
    result = run(command, *ids, store=folder / "jobs.db")
    assert result.exit_code == 4
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert footprint(folder) == before


@as_root
def test_only_the_owner_steers(folder: Path) -> None:
    """Anybody who can read the files may look; to steer ends with 5, and says as whom to do it."""
    path = folder / "jobs.db"
    (job_id,) = keep(path, a_job())
    give_away(path)
    assert run("show", job_id, store=path).exit_code == 0
    result = run("cancel", job_id, store=path)
    assert result.exit_code == 5
    assert f"run it as {OWNER}: sudo -u '#{OWNER}'" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_another_schema_is_not_steered(folder: Path) -> None:
    """It ends with 5, and with both versions: a guest brings no store up to date."""
    path = folder / "old.db"
    make_store(path, 1)
    path.chmod(0o600)
    (line,) = run("list", store=path).stdout.splitlines()
    result = run("cancel", line.split("\t")[0], store=path)
    assert result.exit_code == 5
    assert "has schema 1" in result.stderr
