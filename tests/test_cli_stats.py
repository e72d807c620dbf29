"""`asyncjobs stats`: what somebody who runs the servers should know comes last."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from asyncjobs import Jobs, transitions
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite.writing import reserve
from asyncjobs.testing import NOW, REQUEST, a_job
from commands import started
from server import DEADLINE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


async def test_servers_and_what_they_do_not_get_on_with(path: Path) -> None:
    """Who has the store open is told, with its handlers, and how many jobs none of them can run, or
    were left by a process that is dead."""
    async with SqliteStore(path) as died:
        for _ in range(2):
            await died.add(transitions.start(a_job(program="old"), died.worker, NOW), REQUEST)
        for _ in range(3):
            await died.add(a_job(route="renamed", program="shop"), REQUEST)
    jobs = Jobs(store=f"sqlite:///{path}", name="shop", gone_after=None)
    jobs.function(a_handler, name="orders")
    async with jobs:
        lines = await told(path)
    assert lines[-3:] == [
        "1 server of 'shop', with handlers for orders",
        "queued, and no server has a handler for 'renamed': 3 jobs",
        "running, and their process is dead: 2 jobs",
    ]
    lines = await told(path)
    assert lines[-2:] == [
        "no server has the store open",
        "running, and their process is dead: 2 jobs",
    ]


async def test_servers_that_take_no_new_jobs(path: Path) -> None:
    """That the disk is full is told, although no job says so: those that come are refused."""
    async with Jobs(store=f"sqlite:///{path}", name="shop"):
        os.truncate(f"{path}-ballast", reserve.SIZE - reserve.SLICE)
        lines = await told(path)
    assert "they take no new jobs: the disk or the size limit of the job store is full" in lines


async def a_handler() -> None:
    """It is never called."""


async def told(path: Path) -> list[str]:
    """What the command says beside the counts, while this process goes on."""
    process = started("stats", "--all", "--store", f"sqlite:///{path}")
    _, said = await asyncio.to_thread(process.communicate, timeout=DEADLINE)
    assert process.returncode == 0, said
    return said.splitlines()
