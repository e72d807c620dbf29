"""What a job costs beyond a bare handler: so many steps, none more and none fewer.

They are counted, by bench/counting.py, and not timed: the same everywhere, however busy the machine
is. Where fewer are needed now, or more are worth it, `python -m bench.calls` prints the tables. One
who saves steps has to put them in as well, else others could use them up unseen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from operator import gt, lt
from pathlib import Path

import pytest
from quart import Quart

from asyncjobs import QuartJobs
from bench import counting
from bench.apps import answering
from bench.calls import (
    AT_ONCE,
    PARTS,
    Counts,
    Over,
    at,
    at_once,
    count,
    line,
    measure,
    our_app,
    releases,
    versions,
)

#: By the versions of Python and Quart, and by part: calls of Python functions, callbacks of the
#: loop, statements of SQLite, commits and flushes, each beyond those of the floor.
BUDGETS = {
    ("3.11", "0.22"): {
        "a job": Counts(317, -4, 10, 2, 2),
        "a job in one request": Counts(192, -4, 11, 2, 2),
        "a poll of a finished job": Counts(-99, -9, 1, 0, 0),
        "a plain route, twice": Counts(-258, -18, 0, 0, 0),
        "16 jobs at once": Counts(2702, -184, 100, 2, 2),
    },
    ("3.13", "0.23"): {
        "a job": Counts(447, 5, 10, 2, 2),
        "a job in one request": Counts(289, 5, 11, 2, 2),
        "a poll of a finished job": Counts(-39, -5, 1, 0, 0),
        "a plain route, twice": Counts(-179, -12, 0, 0, 0),
        "16 jobs at once": Counts(4647, -40, 100, 2, 2),
    },
}
#: The releases of Python, Quart, Werkzeug and Flask that each was counted with, and is exact for.
RELEASES = {
    ("3.11", "0.22"): ("3.11.7", "0.22.0", "3.1.9", "3.1.3"),
    ("3.13", "0.23"): ("3.13.0", "0.23.1", "3.1.9", "3.1.3"),
}
#: Calls of one job that other patch releases may make, or spare.
SLACK = 3
#: So many of the functions are listed which are called most beyond the floor.
LISTED = 25


@pytest.fixture(scope="module")
def fresh() -> Iterator[ProcessPoolExecutor]:
    """A process in which no other test has connected a signal, or filled a cache."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield pool


@pytest.mark.skipif(
    versions() not in BUDGETS,
    reason=f"no budget for Python and Quart {versions()}: python -m bench.calls prints one",
)
@pytest.mark.parametrize("part", PARTS)
def test_a_job_takes_the_steps_of_its_budget(part: str, fresh: ProcessPoolExecutor) -> None:
    """Each part takes as many calls, callbacks, statements, commits and flushes as the table says:
    none more, and what is saved is written down."""
    budget, over = BUDGETS[versions()].get(part), fresh.submit(measure, part).result()
    assert budget is not None, f"{part}: it has no budget yet, python -m bench.calls prints it"
    calls = 0 if releases() == RELEASES.get(versions()) else SLACK
    slack = calls * (AT_ONCE if "at once" in part else 1)
    more, fewer = exceeded(over, budget, slack=slack), saved(over, budget, slack=slack)
    assert not more, f"{part}: {', '.join(more)}; {account(over)}"
    assert not fewer, f"{part}: {', '.join(fewer)}; {thanks(part, over)}"


def test_a_further_call_is_counted_as_one(tmp_path: Path) -> None:
    """One function more that a job calls is one call more, and nothing else."""
    usual = count(our_app(tmp_path / "usual")[0], at("/job"))
    further = count(with_more(tmp_path / "further", lambda jobs: step()), at("/more"))
    assert further.calls[f"{__name__}:step"] == 1
    calls = usual.calls.total() + 2  # with the lambda
    assert Counts.of(further) == Counts.of(usual)._replace(calls=calls)


def test_a_further_step_is_over_the_budget_and_is_named(tmp_path: Path) -> None:
    """One more hook is more than the slack, and stands in the account that is shown."""
    floor = count(answering(Quart("floor"), "/job"), at("/job"))
    usual = count(our_app(tmp_path / "usual")[0], at("/job"))
    app, _ = our_app(tmp_path / "further")
    app.before_request(step)
    further = count(app, at("/job"))
    budget, over = Over(usual, floor).counts, Over(further, floor)
    assert exceeded(Over(usual, floor), budget) == []
    more = exceeded(over, budget, slack=SLACK)
    assert more == [f"{over.counts.calls} calls instead of {budget.calls}"]
    submission_and_poll = f"{2:7}  {__name__}:step"
    assert submission_and_poll in account(Over(further, usual))


def test_a_step_that_is_saved_is_told_with_the_line_to_paste(tmp_path: Path) -> None:
    """A budget with one call, or one flush, more than are taken is red as well; where the releases
    are others, a few calls may be spared."""
    floor = count(answering(Quart("floor"), "/job"), at("/job"))
    over = Over(count(our_app(tmp_path)[0], at("/job")), floor)
    calls, flushes = over.counts.calls, over.counts.flushes
    spent = over.counts._replace(calls=calls + 1)
    assert saved(over, over.counts) == []
    assert saved(over, spent) == [f"{calls} calls instead of {calls + 1}"]
    assert saved(over, spent, slack=SLACK) == exceeded(over, spent) == []
    spent = over.counts._replace(flushes=flushes + 1)
    assert saved(over, spent, slack=SLACK) == [f"{flushes} flushes instead of {flushes + 1}"]
    assert f'"a job": Counts({calls}, ' in thanks("a job", over)


def test_a_further_write_is_a_commit_and_a_flush(tmp_path: Path) -> None:
    """What each of many jobs at once writes besides is one commit more, and one flush, for all."""
    usual = count(our_app(tmp_path / "usual")[0], at_once("/job"))
    app = with_more(tmp_path / "further", lambda jobs: jobs.jobs.submit("further"))
    further = count(app, at_once("/more"))
    assert usual.flushes == usual.commits < further.commits == further.flushes < AT_ONCE


def test_what_waits_for_the_clock_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would wait for a timer, and so for ever, is an error."""
    monkeypatch.setattr(counting, "PATIENCE", 0.1)
    with counting.Counting() as counts:

        async def wait() -> None:
            with counts.still():
                await asyncio.sleep(0.001)

        with pytest.raises(RuntimeError, match="waits for a timer"):
            counts.run(wait())


def exceeded(over: Over, budget: Counts, *, slack: int = 0) -> list[str]:
    """What is more than it may be, in words."""
    return differing(over.counts, budget, budget._replace(calls=budget.calls + slack), gt)


def saved(over: Over, budget: Counts, *, slack: int = 0) -> list[str]:
    """What is less than the budget has for it, in words."""
    return differing(over.counts, budget, budget._replace(calls=budget.calls - slack), lt)


def differing(
    counts: Counts, budget: Counts, bounds: Counts, beyond: Callable[[int, int], bool]
) -> list[str]:
    kinds = zip(Counts._fields, counts, budget, bounds, strict=True)
    return [
        f"{taken} {kind} instead of {planned}"
        for kind, taken, planned, bound in kinds
        if beyond(taken, bound)
    ]


def thanks(part: str, over: Over) -> str:
    """What is to be done by one who has saved steps."""
    return (
        "that is a saving. Put it into BUDGETS, so that it is kept: paste what python -m "
        "bench.calls prints, with each Python that has a budget. Here it is\n"
        f"{line(part, over.counts)}"
    )


def account(over: Over) -> str:
    """Who makes the calls that the floor does not."""
    lines = [f"{number:7}  {name}" for name, number in over.functions()[:LISTED]]
    head = "called beyond the floor most often (all: python -m bench.calls --functions 999):"
    return "\n".join([head, *lines])


def with_more(folder: Path, do: Callable[[QuartJobs], Awaitable[object]]) -> Quart:
    """Our app with a route at /more, whose jobs do something."""
    app, jobs = our_app(folder)

    @app.post("/more")
    @jobs.background(ttl=60)
    async def more() -> dict[str, bool]:
        await do(jobs)
        return {"Result": True}

    jobs.function(step, name="further")
    return app


async def step() -> None: ...
