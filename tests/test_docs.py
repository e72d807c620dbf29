"""The docs are code: every block in them is run, and does what it says."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import fields
from inspect import cleandoc
from pathlib import Path

import pytest
from click.testing import CliRunner
from quart import Quart

import asyncjobs.errors
from asyncjobs.cli import COMMANDS
from asyncjobs.cli.exits import Exit
from asyncjobs.credentials import NAMED_CREDENTIALS
from asyncjobs.job import Job, Request, State
from asyncjobs.settings import Settings
from asyncjobs.store import Query
from asyncjobs.stores import SqliteStore, open_url
from asyncjobs.testing import REQUEST, a_job
from asyncjobs.torture.cli import torture
from asyncjobs.web.http.headers import storable_request_headers
from asyncjobs.web.serving.environment import configured
from commands import Terminal, ended, keep, run
from server import Server, result, submit

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PYTHON = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", README, re.DOTALL))
_CONSOLE = r"```console\n(.*?)```"
CONSOLE = re.findall(_CONSOLE, README, re.DOTALL)
ID = re.compile(r"\b[0-9a-f]{32}\b")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, code in PYTHON.items():
        (tmp_path / name).write_text(code.replace("sleep(10,", "sleep(1.5,"))
    return tmp_path


def test_every_block_of_the_readme_is_run_here() -> None:
    """No block is left out: what is added to the README has to be added here."""
    assert sorted(PYTHON) == ["app.py", "chained.py", "embedded.py", "views.py"]
    assert len(CONSOLE) == 5
    assert README.count("```") == 2 * (len(PYTHON) + len(CONSOLE))


def test_the_app_has_nine_lines() -> None:
    """The first example is nine lines long."""
    assert len(PYTHON["app.py"].strip().splitlines()) == 9


@pytest.mark.parametrize("page", ["the README", "the HTTP contract"])
def test_the_curl_transcript(page: str, folder: Path) -> None:
    """The commands print what is shown below them, but for ids and dates."""
    blocks = CONSOLE if page == "the README" else re.findall(_CONSOLE, docs("http"), re.DOTALL)
    commands = [each for each in transcript(blocks) if each[0].startswith("curl ")]
    assert commands
    with Server("app:app", folder) as server:
        ids: dict[str, str] = {}
        for command, expected in commands:
            command = ID.sub(lambda match: ids[match.group()], command)
            command = command.replace("http://127.0.0.1:8000", server.url)
            printed = subprocess.run(
                command.replace("curl", "curl -s", 1),
                shell=True,
                check=True,
                capture_output=True,
                text=True,
                timeout=30,
            ).stdout
            for shown in ID.findall(expected):
                ids.setdefault(shown, ID.findall(printed)[0])
            expected = ID.sub(lambda match: ids[match.group()], expected)
            assert re.fullmatch(as_pattern(expected), printed.replace("\r\n", "\n")), printed
        assert ids.keys() == {shown for each in commands for shown in ID.findall("".join(each))}


def transcript(blocks: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each command of console blocks, with what it prints."""
    for block in blocks:
        yield from re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)


def as_pattern(expected: str) -> str:
    """Some headers come in any order and dates differ; three dots stand for more of the same."""
    pattern = re.escape(expected).replace(re.escape("..."), ".*")
    return re.sub(r"date:.*", "date: .*", pattern)


def test_the_commands_of_the_readme_are_targets_of_make() -> None:
    """`make demo` and `make test` are there."""
    makefile = (ROOT / "Makefile").read_text()
    named = {command for command, _ in transcript(CONSOLE) if command.startswith("make ")}
    assert named == {"make demo", "make test"}
    for command in named:
        assert f"\n{command.removeprefix('make ')}:" in makefile


def test_the_demo_needs_no_development_tools(tmp_path: Path) -> None:
    """`make demo` installs the package as its users have it; the tests take the rest on top."""
    installed = {
        target: re.findall(r"pip install .*--editable (\S+)", what_make_does(target, tmp_path))
        for target in ("demo", "test", "lint")
    }
    assert installed == {"demo": ["."], "test": [".", "'.[dev]'"], "lint": [".", "'.[dev]'"]}


def what_make_does(target: str, folder: Path) -> str:
    """The commands of a target where nothing is set up yet."""
    command = ["make", "--dry-run", target, f"VENV={folder / 'none'}"]
    return subprocess.check_output(command, cwd=ROOT, text=True)


def test_the_views_of_the_readme(folder: Path) -> None:
    """The longer example works, with what its text says of it."""
    (folder / "whole.py").write_text(
        "from quart import Quart\nfrom views import jobs, views\napp = Quart(__name__)\n"
        "jobs.init_app(app)\napp.register_blueprint(views)\n"
    )
    with Server("whole:app", folder) as server, server.client() as client:
        poll = submit(client, "POST", "/words", content=b"three short words")
        assert result(client, poll).json() == {"words": 3}
        status = client.get(client.get(poll).links["status"]["url"]).json()
        assert status["progress"] == {"current": 3, "total": 3, "message": "counting"}
        done = result(client, submit(client, "PUT", "/reports/2026", json={"a": 1}))
        assert (done.status_code, done.json()) == (201, {"year": 2026, "settings": {"a": 1}})
        missing = result(client, submit(client, "PUT", "/reports/1999", json={}))
        assert (missing.status_code, missing.headers["Job-State"]) == (404, "succeeded")


def test_the_embedded_example(folder: Path) -> None:
    """The example without a framework prints its sum, and that of jobs that wait for jobs too."""
    for example, expected in (("embedded.py", "3\n"), ("chained.py", "14\n")):
        printed = subprocess.check_output([sys.executable, example], cwd=folder, text=True)
        assert printed == expected


async def test_the_routes_of_the_operations(tmp_path: Path) -> None:
    """The app with a readiness probe answers it as shown, another one lists what nobody runs, and
    another one copies its store, with the very job that does; the last one logs what is not
    logged by default."""
    page = docs("operations")
    apps = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", page, re.DOTALL))
    (shown,) = re.findall(r"```console\n\$ curl \S+/health\n(.*?)```", page, re.DOTALL)
    assert sorted(apps) == ["backed_up", "checked", "logged", "probed"]
    (end,) = re.findall(r"```text\n(.*?)\n```", page, re.DOTALL)
    others = sum(page.count(f"```{kind}") for kind in ("ini", "sh", "text"))
    assert page.count("```") == 2 * (len(apps) + 1 + others)
    for name, code in apps.items():
        (tmp_path / f"{name}.py").write_text(code)
    with Server("probed:app", tmp_path) as server, server.client() as client:
        answer = client.get("/health")
        assert (answer.status_code, answer.text) == (200, shown)
    async with SqliteStore(tmp_path / "instance" / "jobs.db") as store:
        gone = Job("0" * 32, "gone_view", "/gone", created=time.time(), due=time.time())
        await store.add(gone, Request("GET", "/gone"))
    with Server("checked:app", tmp_path) as server, server.client() as client:
        assert client.get("/gone").json() == [[gone.id, "gone_view"]]
    with Server("backed_up:app", tmp_path) as server, server.client() as client:
        poll = submit(client, "POST", "/backup")
        copy = tmp_path / "instance" / result(client, poll).json()["file"]
    async with SqliteStore(copy) as store:
        assert (await store.get(poll.rpartition("/")[2])).state is State.RUNNING
    with Server("logged:app", tmp_path) as server:
        assert re.search(
            r"^[-\d]+ \S+ INFO asyncjobs.store: jobs are kept in ", server.log(), re.MULTILINE
        )
        with server.client() as client:
            assert result(client, submit(client, "GET", "/report")).status_code == 500
        assert without_chance(end) in without_chance(server.log()).splitlines()


def without_chance(log: str) -> str:
    """Lines of the log but for times, ids and milliseconds."""
    return re.sub(r"^[-\d]+ [:,\d]+ |\b[0-9a-f]{32}\b|\b\d+ ms", "", log, flags=re.MULTILINE)


async def test_the_commands_that_restore_a_copy(tmp_path: Path) -> None:
    """Typed as they are, but for the name of the user, they put a copy in the place of the store,
    and the start finds nothing wrong."""
    ((commands,),) = [re.findall(r"```sh\n(.*?)```", docs("operations"), re.DOTALL)]
    mine = f"-o {os.geteuid()} -g {os.getegid()}"
    assert "-o reports -g reports" in commands
    path = tmp_path / "jobs.db"
    first, second = a_job(), a_job()
    async with SqliteStore(path) as store:
        await store.add(first, REQUEST)
        await store.backup(tmp_path / "copy.db")
        await store.add(second, REQUEST)
    typed = commands.replace("-o reports -g reports", mine)
    await asyncio.to_thread(subprocess.run, ["sh", "-ec", typed], cwd=tmp_path, check=True)
    assert path.stat().st_mode & 0o777 == 0o600
    async with SqliteStore(path) as store:
        assert await store.health() is None
        assert [job.id for job in await store.find(Query())] == [first.id]


def test_the_systemd_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The unit of the operations keeps the store in the folder that it has systemd make, in the
    words that an app reads."""
    ((unit,),) = [re.findall(r"```ini\n(.*?)```", docs("operations"), re.DOTALL)]
    settings = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line)
    name, value = settings["Environment"].split("=", 1)
    monkeypatch.setenv(name, value)
    app = Quart(__name__)
    app.config.from_prefixed_env()
    store = open_url(next(said.value for said in configured(app.config) if said.name == "store"))
    assert isinstance(store, SqliteStore)
    assert store.path == Path("/var/lib", settings["StateDirectory"], "jobs.db")
    assert settings["Restart"] == "always"
    assert int(settings["TimeoutStopSec"]) >= Settings().drain_time + 10


def test_the_example_in_the_docstring_of_jobs(tmp_path: Path) -> None:
    """The example in the docstring of `Jobs` runs."""
    code = cleandoc(asyncjobs.Jobs.__doc__ or "").split("::\n")[1].split("Args:")[0]
    program = f"import asyncio\nfrom asyncjobs import Jobs\nasync def main():\n{code}\n"
    (tmp_path / "example.py").write_text(f"{program}\nasyncio.run(main())\n")
    subprocess.run([sys.executable, "example.py"], cwd=tmp_path, check=True)


def test_the_table_of_settings() -> None:
    """The docs name every setting, its default and its meaning."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", docs("settings"), re.MULTILINE)
    documented = {name: (default, meaning) for name, default, meaning in rows}
    assert documented == {
        setting.name: (
            "4 more than processors, 32 at most"
            if setting.name == "threads"
            else f"`{setting.default!r}`",
            setting.metadata["meaning"],
        )
        for setting in fields(Settings)
    }


def test_the_list_of_credentials() -> None:
    """Each header that the docs call a credential is dropped, each that they call none is kept, and
    all that are known by their whole name are in the list."""
    listed, none = re.findall(
        r"The list:(.*?)What is not on the list is stored:.*?Stored,(.*?)`X-`",
        docs("credentials"),
        re.DOTALL,
    )[0]
    dropped = [name.lower() for name in re.findall(r"`([\w-]+)`", listed)]
    kept = [name.lower() for name in re.findall(r"`([\w-]+)`", none)]
    pairs = [(name.encode(), b"v") for name in dropped + kept]
    stored = [name.decode() for name, _ in storable_request_headers(pairs, b"", Settings())]
    assert stored == kept
    assert set(dropped) >= NAMED_CREDENTIALS


def test_the_table_of_states() -> None:
    """The docs explain every state, those that are final last."""
    (section,) = re.findall(r"## States\n(.*?)\n## ", docs("http"), re.DOTALL)
    named = [State(name) for name in re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)]
    assert sorted(named) == sorted(State)
    assert [state.is_final for state in named] == [False] * 2 + [True] * 4


def test_the_table_of_problems() -> None:
    """The docs name every problem that is sent to clients, with its status."""
    rows = re.findall(r"^\| `([\w-]+)` \| (\d+) \|", docs("http"), re.MULTILINE)
    errors = [
        error
        for error in vars(asyncjobs.errors).values()
        if isinstance(error, type)
        and issubclass(error, asyncjobs.errors.AsyncJobsError)
        and "name" in vars(error)
    ]
    never_sent = {"internal-error", "job-failed", "job-not-found", "conflict"}
    assert {(name, int(status)) for name, status in rows} == {
        (error.name, error.status) for error in errors if error.name not in never_sent
    }


def test_the_harnesses_take_the_commands_of_the_docs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command that repeats a figure is one that there is, with options that it has."""
    page = docs("reliability") + docs("performance")
    tortures = re.findall(r"`asyncjobs (torture .*?)`", page)
    assert {command.split()[1] for command in tortures} == set(torture.commands)
    for command in tortures:
        _, name, *options = command.split()
        torture.commands[name].make_context(name, options)
    monkeypatch.syspath_prepend(ROOT)
    for module, options in re.findall(r"`python -m (bench\.\w+) ?(.*?)`", page):
        is_package = hasattr(importlib.import_module(module), "__path__")
        main = importlib.import_module(f"{module}.__main__" if is_package else module).main
        helped = CliRunner().invoke(main, [*options.split(), "--help"])
        assert helped.exit_code == 0, f"{module} {options}: {helped.output}"


def test_every_file_that_the_docs_name_is_there() -> None:
    """Links in the docs lead somewhere, to a heading where they name one."""
    for page in [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").glob("*.md")]:
        links = re.findall(r"\]\((?!http:|https:)([^)#]*)#?([^)]*)\)", page.read_text())
        for link, heading in links:
            target = page.parent / link if link else page
            assert target.exists(), f"{page.name} names {link}"
            assert not heading or heading in headings(target), f"{page.name}: {link}#{heading}"


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page; of equal ones, two at most."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]
    return {*anchors, *(f"{anchor}-1" for anchor in anchors if anchors.count(anchor) > 1)}


def keep_for_the_command_line(path: Path) -> None:
    """The jobs that docs/cli.md tells of."""
    now = time.time()
    common = {"program": "shop", "owner": "ada"}
    missing = ended(State.SUCCEEDED, 404, id="1f0e9d8c7b6a45f4a3b2c1d0e9f8a7b6", route="orders")
    failed = ended(
        *(State.FAILED, 500, "ValueError: there are no hats"),
        **common,
        id="6dbac2daf7d44d5a8b2f7c6e3b7d4a10",
    )
    waiting = [
        a_job(id=f"{digits}0000000000400080000000000000", created=now - 60, route="resize")
        for digits in ("7a51", "c0de")
    ]
    keep(path, *waiting, missing, failed)


def test_the_command_line_does_what_its_page_shows(tmp_path: Path) -> None:
    """Each command of docs/cli.md prints at a terminal what it shows, but for times."""
    keep_for_the_command_line(tmp_path / "jobs.db")
    url = "sqlite:///jobs.db"
    for block in re.findall(r"```console\n(.*?)```", docs("cli"), re.DOTALL):
        for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            words = shlex.split(command)
            if words[0] == "export":
                assert words == ["export", f"QUART_JOBS_STORE={url}"]
                continue
            assert words[0] == "asyncjobs"
            with Terminal(words[1:], tmp_path, {"QUART_JOBS_STORE": url}) as terminal:
                terminal.end()
                assert without_times(terminal.text) == without_times(expected), command


def without_times(text: str) -> list[list[str]]:
    """The words of each line, but for rules and for what another day makes different."""
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    text = re.sub(r"\b[\d.]+(ms|s|m|h|d)\b( [\d.]+[smh]\b)?", "SPAN", text)
    return [words for line in re.sub("─+", "", text).splitlines() if (words := line.split())]


def test_the_commands_of_the_page_are_those_that_there_are() -> None:
    """Each command that sees and steers has its section, and each code it ends with its row."""
    page = docs("cli")
    named = set(re.findall(r"^## `asyncjobs (\w+)", page, re.MULTILINE))
    assert named == {each.name for each in COMMANDS} - {"demo", "torture"}
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert codes == set(Exit)


def test_a_store_is_seen_and_steered_from_python(tmp_path: Path) -> None:
    """The lines of the page do so, typed into a shell as they are."""
    keep_for_the_command_line(tmp_path / "jobs.db")
    (typed,) = re.findall(r"```sh\n(python.*?)```", docs("cli"), re.DOTALL)
    here = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    printed = subprocess.check_output(["sh", "-ec", typed], cwd=tmp_path, text=True, env=here)
    assert printed == "6dbac2daf7d44d5a8b2f7c6e3b7d4a10 report ValueError: there are no hats\n"
    assert run("list", "--state", "queued", "--route", "report", store=tmp_path / "jobs.db").stdout


def docs(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()
