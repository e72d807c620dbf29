"""Kill -9 loses nothing and doubles nothing; and if it did, the harness would find it."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from asyncjobs.torture.kill import Plan, torture
from asyncjobs.torture.server_bugs import SERVER_BUGS


async def test_kill_9_breaks_no_promise(tmp_path: Path) -> None:
    """Fifty servers are killed under load, at random moments and at the failpoints."""
    report = await torture(Plan(kills=50), tmp_path, Random())
    assert not report.broken, "\n".join(map(str, report.broken))
    assert report.kills >= 50
    assert report.acknowledged > report.kills
    assert report.reruns
    assert report.at_once
    assert report.unknown
    assert report.states["interrupted"]


@pytest.mark.parametrize("bug", sorted(SERVER_BUGS))
async def test_the_harness_finds_a_planted_bug(bug: str, tmp_path: Path) -> None:
    """With a bug of the kind that it is there to find, it does find a promise broken."""
    report = await torture(Plan(kills=150, epoch=15, bug=bug), tmp_path, Random())
    assert report.broken
