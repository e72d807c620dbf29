"""A poison job takes no innocent with it; and if it did, the harness would find it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from asyncjobs.torture import promises
from asyncjobs.torture.poison import Life, Plan, torture
from asyncjobs.torture.promises import sentence


@pytest.mark.parametrize(
    "life",
    [
        Life(workers=1, poison=1, innocents=15, kills=2),
        Life(workers=1, poison=3, innocents=15),
        Life(workers=4, poison=1, innocents=15, kills=2),
        Life(workers=4, poison=3, innocents=15),
    ],
    ids=str,
)
async def test_poison_breaks_no_promise(life: Life, tmp_path: Path) -> None:
    """Jobs that take their process down are convicted, under hypercorn and a service manager, and
    all others have their results."""
    report = await torture(Plan(rounds=1, lives=[life]), tmp_path, Random())
    assert not report.broken, "\n".join(map(str, report.broken))
    assert report.states["interrupted"] >= life.poison
    assert report.lost <= max(life.poison - 2, 0)
    assert report.states["succeeded"] >= life.innocents - report.lost


ONE_WORKER = [Life(workers=1, poison=poison, innocents=15) for poison in (2, 3)]
#: When one of them has died, the others are told to stop, in which they die of other such jobs.
FOUR_WORKERS = [Life(workers=4, poison=3, innocents=15, kills=6)]


@pytest.mark.parametrize(
    ("bug", "lives", "found"),
    [
        (
            "convict-at-three",
            ONE_WORKER,
            {promises.rerun_before_interrupted, promises.poison_is_convicted},
        ),
        ("no-suspects", ONE_WORKER, {promises.suspects_run_alone}),
        ("forgotten-crash", ONE_WORKER, {promises.crashes_are_counted}),
        ("told-is-blamed", FOUR_WORKERS, {promises.crashes_are_counted}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_the_harness_finds_a_planted_bug(
    bug: str, lives: Sequence[Life], found: set[promises.Promise], tmp_path: Path
) -> None:
    """If three crashes convict, suspects run side by side, a crash does not count, or one does of a
    process that was told to stop, then each promise that speaks of it is found broken."""
    report = await torture(Plan(rounds=3, lives=lives, bug=bug), tmp_path, Random())
    assert set(map(sentence, found)) <= {broken.promise for broken in report.broken}
