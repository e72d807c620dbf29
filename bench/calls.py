"""What a job takes beyond a bare Quart handler that answers the same requests, counted exactly:
Python calls, callbacks of the loop, statements of SQLite, commits and flushes.

`python -m bench.calls` prints the tables of tests/test_budget.py as they should be now, and who
makes the calls; `--functions` lists more of them.
"""

from __future__ import annotations

import asyncio
import json
import platform
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import click
from quart import Quart

from asyncjobs import QuartJobs

from .apps import answering, running
from .counting import Account, Client, Counting

#: So many rounds come before those that are counted.
WARM_UP = 5
ROUNDS = 5

BODY = json.dumps({"rows": list(range(20)), "name": "report"}).encode()
WAIT = "wait=20"
AT_ONCE = 16

Round = Callable[[], Awaitable[None]]
#: Makes what a client does in each round.
Prepare = Callable[[Client], Awaitable[Round]]


class Counts(NamedTuple):
    """How much of each is done."""

    calls: int
    callbacks: int
    statements: int
    commits: int
    flushes: int

    @classmethod
    def of(cls, account: Account) -> Counts:
        return cls(
            account.calls.total(),
            account.callbacks,
            account.statements.total(),
            account.commits,
            account.flushes,
        )


@dataclass(frozen=True)
class Over:
    """What a round takes, and the same round of the floor."""

    ours: Account
    floor: Account

    @property
    def counts(self) -> Counts:
        """What is taken beyond the floor, or less than it if it is negative."""
        pairs = zip(Counts.of(self.ours), Counts.of(self.floor), strict=True)
        return Counts(*(ours - floor for ours, floor in pairs))

    def functions(self) -> list[tuple[str, int]]:
        """The functions that are called more often than by the floor, from the most often on, to
        those that are called less."""
        calls = Counter(self.ours.calls)
        calls.subtract(self.floor.calls)
        return [(name, number) for name, number in calls.most_common() if number]

    def packages(self) -> list[tuple[str, int]]:
        """The same by package: of ours, the one within."""
        calls: Counter[str] = Counter()
        for name, number in self.functions():
            module = name.partition(":")[0].split(".")
            depth = 3 if module[:2] in (["asyncjobs", "web"], ["asyncjobs", "stores"]) else 2
            calls[".".join(module[: depth if module[0] == "asyncjobs" else 1])] += number
        return calls.most_common()


def at(path: str) -> Prepare:
    """Submit and poll at this path."""

    async def prepare(client: Client) -> Round:
        return lambda: _submit_and_poll(client, path)

    return prepare


def at_once(path: str) -> Prepare:
    """The same, so many at the same time."""

    async def prepare(client: Client) -> Round:
        async def submit_and_poll() -> None:
            await asyncio.gather(*(_submit_and_poll(client, path) for _ in range(AT_ONCE)))

        return submit_and_poll

    return prepare


def in_one_request(path: str) -> Prepare:
    """Submit, and be answered with the result."""

    async def prepare(client: Client) -> Round:
        async def submit() -> None:
            assert await client.request("POST", path, BODY, WAIT) == RESULT

        return submit

    return prepare


def poll_of_finished(path: str) -> Prepare:
    """Poll a job that has its result."""

    async def prepare(client: Client) -> Round:
        poll = await _submit_and_poll(client, path)

        async def again() -> None:
            assert await client.request("GET", poll) == RESULT

        return again

    return prepare


RESULT = (200, b'{"Result":true}\n')

#: Each with what our app does, and what the floor does.
PARTS: dict[str, tuple[Prepare, Prepare]] = {
    "a job": (at("/job"), at("/job")),
    "a job in one request": (in_one_request("/job"), at("/job")),
    "a poll of a finished job": (poll_of_finished("/job"), poll_of_finished("/job")),
    "a plain route, twice": (at("/plain"), at("/job")),
    f"{AT_ONCE} jobs at once": (at_once("/job"), at_once("/job")),
}


def measure(part: str) -> Over:
    """What a part takes."""
    our_round, floor_round = PARTS[part]
    with tempfile.TemporaryDirectory() as folder:
        ours = count(our_app(Path(folder))[0], our_round)
    floor = count(answering(Quart("floor"), "/job"), floor_round)
    return Over(ours, floor)


def our_app(folder: Path) -> tuple[Quart, QuartJobs]:
    """Our app and its jobs, whose store is in this folder."""
    app = answering(Quart("ours", instance_path=str(folder)), "/plain")
    return app, running(app, "/job")


def count(app: Quart, prepare: Prepare) -> Account:
    """What each round takes of `app`, once all is warm."""

    async def rounds() -> Account:
        async with app.test_app():
            client = Client(app)
            with counting.still():
                do = await prepare(client)
                for _ in range(WARM_UP):
                    await do()
                with counting.counted() as account:
                    for _ in range(ROUNDS):
                        await do()
        return account.per(ROUNDS)

    with Counting() as counting:
        return counting.run(rounds())


async def _submit_and_poll(client: Client, path: str) -> str:
    """Where the result is."""
    status, body = await client.request("POST", path, BODY)
    assert status == 202, body
    poll = f"{path}/{json.loads(body)['TaskId']}"
    assert await client.request("GET", poll, prefer=WAIT) == RESULT
    return poll


def versions() -> tuple[str, str]:
    """Those of Python and Quart, which a budget is for."""
    python, quart = (release.split(".") for release in releases()[:2])
    return ".".join(python[:2]), ".".join(quart[:2])


def releases() -> tuple[str, ...]:
    """Those of Python, Quart, Werkzeug and Flask, with which the counts are the same everywhere."""
    return platform.python_version(), *map(version, ("quart", "werkzeug", "flask"))


def line(part: str, counts: Counts) -> str:
    """Of a budget."""
    return f'        "{part}": Counts{tuple(counts)},'


def quoted(names: Iterable[str]) -> str:
    """A tuple of names as the formatter writes it."""
    return f"({', '.join(json.dumps(name) for name in names)})"


@click.command()
@click.option("--functions", default=0, show_default=True, help="List so many of each part.")
def main(functions: int) -> None:
    """Count what each part takes beyond a bare handler."""
    parts = {name: measure(name) for name in PARTS}
    click.echo("BUDGETS:")
    click.echo(f"    {quoted(versions())}: {{")
    for name, over in parts.items():
        click.echo(line(name, over.counts))
    click.echo("    },")
    click.echo(f"RELEASES:\n    {quoted(versions())}: {quoted(releases())},")
    for name, over in parts.items():
        calls = over.floor.calls.total()
        click.echo(f"\n{name}: {over.counts.calls} calls beyond the floor's {calls}")
        for called, number in over.packages() + over.functions()[:functions]:
            click.echo(f"{number:7}  {called}")


if __name__ == "__main__":
    main()
