"""What the benches rest on: that all parts can be run, and that nothing is left out of a figure."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import PARTS
from bench.http import drive
from bench.paced import Paced
from bench.server import Server

ROOT = Path(__file__).parent.parent
DEADLINE = 60


@pytest.mark.parametrize("part", PARTS)
def test_each_part_takes_its_options(part: str) -> None:
    """What `make bench` runs are commands that there are."""
    for options in PARTS[part]:
        command = [sys.executable, "-m", f"bench.{part}", *options.split(), "--help"]
        subprocess.run(command, cwd=ROOT, capture_output=True, check=True)


@pytest.mark.parametrize(("app", "path"), [("floor", "/job"), ("ours", "/job"), ("ours", "/plain")])
async def test_every_request_of_a_round_is_counted(app: str, path: str, tmp_path: Path) -> None:
    """A job is a submission and a poll, however many clients there are at a time; it takes CPU."""
    server = await asyncio.to_thread(Server, f"bench.apps:{app}", tmp_path, patience=DEADLINE)
    with server:
        measured = await drive(server, 40, 8, path=path)
    assert measured.requests == 2
    assert measured.cpu > 0


async def test_a_slow_answer_keeps_no_later_submission_back() -> None:
    """At a rate, each job is submitted when it is due, whether or not the ones before are answered:
    here all answers are held back until the last submission has come."""
    total, arrived, all_there = 20, 0, asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]))
        arrived += 1
        if arrived == total:
            all_there.set()
        await all_there.wait()
        body = b'{"Result":true}\n'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        await reader.read()
        writer.close()

    async with asyncio.timeout(DEADLINE), await asyncio.start_server(answer, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        latencies = await Paced(port, "/job", rate=total).run(1)
    assert len(latencies.submissions) == len(latencies.results) == total
