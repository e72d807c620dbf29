"""The page of the API is made from the docstrings, has all that is public, and its examples run."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import quart

import asyncjobs
from asyncjobs import Jobs, QuartJobs, errors
from asyncjobs.testing import FakeClock

DOCS = Path(__file__).parents[1] / "docs"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


api = load(DOCS / "api.py")


@pytest.mark.parametrize("name", api.PAGES)
def test_a_page_is_as_the_docstrings_are(name: str) -> None:
    """What a docstring says the page says, and nothing else."""
    text = (DOCS / f"{name}.md").read_text()
    assert text == api.text_of(api.PAGES[name]), f"docs/{name}.md is old: run `make docs`"


def test_all_that_is_public_is_on_the_page() -> None:
    """Each name that `asyncjobs` exports has its place there, once, and can be imported."""
    sections = [page.sections for page in api.PAGES.values()]
    listed = [name for section in sections for names in section.values() for name in names]
    assert sorted(listed) == sorted(asyncjobs.__all__)
    assert all(hasattr(asyncjobs, name) for name in listed)


def test_every_error_can_be_imported_from_the_package() -> None:
    """Whatever is raised can be caught by a name of `asyncjobs`."""
    raised = {
        name
        for name, error in vars(errors).items()
        if inspect.isclass(error) and issubclass(error, BaseException)
    }
    assert raised <= set(asyncjobs.__all__)


def test_all_that_is_on_the_page_says_what_it_is() -> None:
    """No public class, method or property is without a docstring of its own."""
    for name in asyncjobs.__all__:
        thing = getattr(asyncjobs, name)
        if inspect.isclass(thing):
            assert "__doc__" in vars(thing), name
            assert not (thing.__doc__ or "").startswith(f"{name}("), name  # what dataclass writes
            for member, value in api.members_of(name, thing):
                assert value.__doc__, f"{name}.{member}"


def test_what_is_for_the_library_alone_is_there() -> None:
    """No name is kept off the page that nothing is called by any more."""
    for name, members in api.INTERNAL.items():
        homes = (asyncjobs, asyncjobs.control, asyncjobs.events)
        kind = next(filter(None, (getattr(home, name, None) for home in homes)), None)
        kind = kind or load_testing(name)
        assert members <= {*vars(kind), *getattr(kind, "__annotations__", ())}, name


def load_testing(name: str) -> Any:
    return getattr(importlib.import_module("asyncjobs.testing"), name)


def texts() -> Iterator[tuple[str, bool]]:
    """Each text in the library, and whether it is a docstring."""
    for path in Path(asyncjobs.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text())
        docstrings = {
            node.body[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value, node in docstrings


def test_a_message_names_what_is_public() -> None:
    """Whoever does what an error says finds it on the page."""
    public = {
        f"{name}.{member}"
        for name in ("Jobs", "QuartJobs")
        for member, _ in api.members_of(name, getattr(asyncjobs, name))
    }
    messages = [text for text, is_docstring in texts() if not is_docstring]
    named = {name for text in messages for name in re.findall(r"`((?:Quart)?Jobs\.\w+)`", text)}
    assert named
    assert named <= public


def test_docstrings_are_read_as_they_are() -> None:
    """`help` shows no link to a page that is not there."""
    docstrings = [text for text, is_docstring in texts() if is_docstring]
    assert len(docstrings) > 100
    assert [text for text in docstrings if re.search(r"\]\(\S+\)", text)] == []


def example_of(thing: object) -> str:
    """The one example in a docstring."""
    _, _, rest = (inspect.getdoc(thing) or "").partition("::\n\n")
    lines = []
    for line in rest.splitlines():
        if line and not line.startswith("    "):
            break
        lines.append(line)
    assert lines, thing
    return textwrap.dedent("\n".join(lines))


async def run_code(code: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run code that may await at its top level; its names afterwards."""
    names |= {name: getattr(asyncjobs, name) for name in asyncjobs.__all__ if name not in names}
    names |= {name: getattr(quart, name) for name in ("Quart", "g", "request")}
    names["__name__"] = "example"
    compiled = compile(code, "example", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    running = eval(compiled, names)
    if inspect.iscoroutine(running):
        await running
    return names


def test_every_example_is_run_here() -> None:
    """What has an example on the page is one of those below."""
    with_example = {
        f"{name}.{member}" if member else name
        for name in asyncjobs.__all__
        if inspect.isclass(kind := getattr(asyncjobs, name))
        and kind is not asyncjobs.AsyncJobsError
        for member, value in [("", kind), *api.members_of(name, kind)]
        if "::\n\n" in (inspect.getdoc(value) or "")
    }
    assert with_example == {
        "QuartJobs",
        "QuartJobs.background",
        "QuartJobs.before_run",
        "QuartJobs.health",
        "QuartJobs.poll",
        "Jobs",
        "Jobs.find",
    }


@pytest.mark.parametrize(
    ("documented", "method", "path", "expected"),
    [
        (QuartJobs, "GET", "/report", {"pages": 3}),
        (QuartJobs.background, "POST", "/reports/2026", {"year": 2026}),
        (QuartJobs.poll, "POST", "/foo", {"done": True}),
    ],
    ids=["QuartJobs", "background", "poll"],
)
async def test_the_examples_of_views(
    documented: Any, method: str, path: str, expected: Any, tmp_path: Path
) -> None:
    """Each makes a job whose poll URL, its own or one that is written by hand, has the result."""
    app = quart.Quart("example", instance_path=str(tmp_path))
    names = {"app": app, "jobs": None if documented is QuartJobs else QuartJobs(app)}
    names = await run_code(example_of(documented).replace("Quart(__name__)", "app"), names)
    async with app.test_app():
        client = app.test_client()
        answer = await client.open(path, method=method)
        assert answer.status_code == 202
        poll = f"{path}/{(await answer.json)['TaskId']}"
        answer = await client.get(poll, headers={"Prefer": "wait=30"})
        assert await answer.json == expected


async def test_the_endpoints_that_the_docstrings_name(tmp_path: Path) -> None:
    """`url_for` leads from them to the poll route, to the status document and to the result."""
    app = quart.Quart("example", instance_path=str(tmp_path))
    names = {"app": app, "jobs": QuartJobs(app)}
    await run_code(example_of(QuartJobs.background), names)
    job_id = "0" * 32
    async with app.test_app(), app.test_request_context("/"):
        poll = quart.url_for("report__job", year=2026, asyncjobs_id=job_id)
        status, result = (
            quart.url_for(endpoint, job_id=job_id)
            for endpoint in ("asyncjobs_status", "asyncjobs_result")
        )
    assert poll == f"/reports/2026/{job_id}"
    assert (status, result) == (f"/jobs/{job_id}", f"/jobs/{job_id}/result")
    documented = f"{QuartJobs.__doc__}{QuartJobs.background.__doc__}"
    for endpoint in ("report__job", "asyncjobs_status", "asyncjobs_result"):
        assert f"``{endpoint}``" in documented


async def test_the_examples_of_what_surrounds_views(tmp_path: Path) -> None:
    """The one sets what views read from `g`; the other answers a probe."""
    app = quart.Quart("example", instance_path=str(tmp_path))
    jobs = QuartJobs(app)
    for documented in (QuartJobs.before_run, QuartJobs.health):
        await run_code(example_of(documented), {"app": app, "jobs": jobs})

    @app.get("/locale")
    @jobs.background
    async def locale() -> dict[str, str]:
        return {"locale": quart.g.locale}

    async with app.test_app():
        client = app.test_client()
        answer = await client.get("/locale", headers={"Accept-Language": "fr"})
        waiting = {"Prefer": "wait=30"}
        answer = await client.get(answer.headers["Location"], headers=waiting)
        assert await answer.json == {"locale": "fr"}
        assert (await client.get("/health")).status_code == 200


async def test_the_examples_of_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one adds, durably; the other finds jobs that have failed."""
    monkeypatch.chdir(tmp_path)
    await run_code(example_of(Jobs), {})
    assert (tmp_path / "jobs.db").exists()
    async with Jobs(store="memory:", clock=FakeClock()) as jobs:

        @jobs.function
        async def fails() -> None:
            raise LookupError

        job = await jobs.submit(fails)
        failed = await jobs.wait(job.id)
        names = await run_code(example_of(Jobs.find), {"jobs": jobs})
        assert names["failed"] == [failed]


async def test_the_example_of_guests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says of each job that has failed why, beside the program that runs them."""
    monkeypatch.chdir(tmp_path)
    async with Jobs(store="sqlite:///jobs.db") as jobs:

        @jobs.function(name="fails")
        async def fails() -> None:
            raise LookupError("no such thing")

        job = await jobs.submit(fails)
        await jobs.wait(job.id)
        await run_code(example_of(asyncjobs.control), {"asyncjobs": asyncjobs})
    assert capsys.readouterr().out == f"{job.id} fails LookupError: no such thing\n"
