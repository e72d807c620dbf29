"""What happens to hypercorn in its life loses nothing; and if it did, the harness would find it."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from asyncjobs.torture.cli import torture as command
from asyncjobs.torture.cycles import Plan, stop_and_continue, torture


@pytest.mark.parametrize("workers", [1, 4])
async def test_the_life_of_a_server_breaks_no_promise(workers: int, tmp_path: Path) -> None:
    """A worker is killed, a deploy comes, workers stand still, and all are killed."""
    report = await torture(Plan(cycles=4, workers=[workers]), tmp_path, Random())
    assert not report.broken, "\n".join(map(str, report.broken))
    assert report.acknowledged
    assert report.at_once
    assert report.deaths.keys() == {"kill worker", "kill all"}


async def test_the_harness_finds_a_planted_bug(tmp_path: Path) -> None:
    """Workers that stand still lose their jobs if they are taken for dead: that is found."""
    plan = Plan(cycles=4, workers=[3], happenings=[stop_and_continue], bug="stopped-is-dead")
    report = await torture(plan, tmp_path, Random())
    assert report.broken


@pytest.mark.parametrize(
    "options",
    [
        "hypercorn --workers 1,x",
        "hypercorn --workers 0",
        "hypercorn --cycles 0",
        "kill --kills 0",
        "kill --servers 0",
        "poison --rounds 0",
        "poison --innocents 0",
        "power --jobs 0",
        "stateful --steps 0",
    ],
)
def test_options_that_would_try_nothing_are_refused(options: str) -> None:
    """No harness can be asked to do nothing, and to find nothing wrong with that."""
    result = CliRunner().invoke(command, options.split())
    assert result.exit_code == 2
    assert "Invalid value for" in result.output
