"""What the benches rest on: that all parts can be run, and that nothing is left out of a figure."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import memory, paced, scale
from bench.__main__ import PARTS, head
from bench.client import Connection, Done, Way
from bench.http import drive, report_latencies
from bench.paced import Latencies, Paced
from bench.percentiles import percentile, tail, told
from bench.server import Server

ROOT = Path(__file__).parent.parent
DEADLINE = 60


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("full", [False, True], ids=["short", "full"])
def test_each_part_takes_its_options(part: str, full: bool) -> None:
    """What `make bench` runs are commands that there are, in the short form and in full."""
    for run in PARTS[part]:
        command = [sys.executable, "-m", f"bench.{part}", *run.arguments(full), "--help"]
        subprocess.run(command, cwd=ROOT, capture_output=True, check=True)


@pytest.mark.parametrize("part", PARTS)
def test_each_part_says_its_sizes(part: str) -> None:
    """The head line has what is asked for, and what is taken as it comes."""
    for run in PARTS[part]:
        line = head(part, run.arguments(False))
        options = run.short.replace("--brief", "").split()
        asked = [
            f"{name[2:]} {value}" for name, value in zip(options[::2], options[1::2], strict=True)
        ]
        assert line.startswith(part)
        assert run.command in line
        assert all(each in line for each in asked), line
    assert "connections 32" in head("http", ["--rounds", "1"])


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
        with closing(writer):
            await request_of(reader)
            arrived += 1
            if arrived == total:
                all_there.set()
            await all_there.wait()
            writer.write(answered(200, b'{"Result":true}\n'))
            await reader.read()

    async with asyncio.timeout(DEADLINE), await asyncio.start_server(answer, "127.0.0.1") as server:
        latencies = await Paced(port_of(server), "/job", rate=total).run(total)
    assert len(latencies.results) == total
    assert latencies.accepted == [], "the first answers are the results"


async def test_a_job_that_has_to_wait_for_its_turn_is_timed_from_when_it_was_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three that are due at once over one connection, each of which takes a second once it has
    begun, take one, two and three."""
    now = 0.0

    async def run_job(connection: Connection, path: str, way: Way) -> Done:
        nonlocal now
        now += 1
        return Done(now - 0.5, now, 2)

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await reader.read()

    monkeypatch.setattr(paced, "MOST", 1)
    monkeypatch.setattr(paced, "run_job", run_job)
    monkeypatch.setattr(paced.time, "perf_counter", lambda: now)
    async with await asyncio.start_server(listen, "127.0.0.1") as server:
        latencies = await Paced(port_of(server), "/job", rate=1e9).run(3)
    assert latencies.accepted == pytest.approx([0.5, 1.5, 2.5])
    assert latencies.results == pytest.approx([1, 2, 3])


async def test_what_fails_at_a_rate_is_told_as_it_is() -> None:
    """A round that fails is left out by what has failed it, also among many jobs at a time."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await request_of(reader)
            writer.write(answered(500, b"broken"))
            await reader.read()

    async with asyncio.timeout(DEADLINE), await asyncio.start_server(refuse, "127.0.0.1") as server:
        with pytest.raises(RuntimeError, match="no result, but 500 b'broken'"):
            await Paced(port_of(server), "/job", rate=100).run(4)


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100)])
def test_a_percentile_is_one_of_the_times(percent: int, expected: int) -> None:
    """The smallest that so many percent do not exceed."""
    assert percentile(range(100, 0, -1), percent) == expected


@pytest.mark.parametrize(
    ("count", "highest"),
    [(1000, 99), (999, 95), (200, 95), (199, 90), (100, 90), (99, 50), (1, 50)],
)
def test_no_percentile_is_told_that_only_some_slow_ones_make(count: int, highest: int) -> None:
    """Ten times at least lie beyond each that is told; the median always is."""
    assert tail(count) == highest
    assert f"p{highest} " in told([0.001] * count)
    assert "p99" in told([0.001] * count) or highest < 99


def test_a_result_in_one_request_is_not_compared_with_the_202_of_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It stands among the results, and not among the 202s."""
    report_latencies(
        {
            "floor": [Latencies([0.001] * 1000, [0.002] * 1000)],
            "ours": [Latencies([0.002] * 1000, [0.004] * 1000)],
            "ours, one request": [Latencies([], [0.003] * 1000)],
        }
    )
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "floor until the 202 p50 1.0 ms p99 1.0 ms p99 : floor 1.00 (1.00-1.00)",
        "ours until the 202 p50 2.0 ms p99 2.0 ms p99 : floor 2.00 (2.00-2.00)",
        "floor until the result p50 2.0 ms p99 2.0 ms p99 : floor 1.00 (1.00-1.00)",
        "ours until the result p50 4.0 ms p99 4.0 ms p99 : floor 2.00 (2.00-2.00)",
        "ours, one request until the result p50 3.0 ms p99 3.0 ms p99 : floor 1.50 (1.50-1.50)",
    ]


def test_plain_requests_are_measured_with_asyncjobs_and_without() -> None:
    """Each app has a line with its memory, and what a request has left there."""
    done = CliRunner().invoke(
        memory.main, ["plain", "--requests", "200", "--warming", "20"], catch_exceptions=False
    )
    ours, floor = done.stdout.splitlines()
    assert ours.startswith("with asyncjobs")
    assert floor.startswith("without")
    assert all("200 plain requests more" in line for line in (ours, floor))


async def test_what_goes_into_the_log_is_told_by_tenths(capsys: pytest.CaptureFixture[str]) -> None:
    """Each tenth of the jobs has a line with its CPU and its bytes in the log, which are some."""
    await scale.through(100)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert all("us CPU and " in line and " bytes of log each" in line for line in lines)
    assert not any(" 0 bytes of log" in line for line in lines)


def test_a_drift_is_that_of_the_last_fifth_to_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    """Of latencies, processor, memory and file, with what it is in percent."""
    first = scale.Look([0.010] * 1000, 10, 1.0, 50_000_000, 2_000_000)
    last = scale.Look([0.011] * 1000, 10, 1.2, 60_000_000, 2_000_000)
    scale.report_drift([first] * 3, [last] * 3)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()[1:]]
    assert lines == [
        "p50, ms 10.00 -> 11.00 (+10.0%)",
        "p99, ms 10.00 -> 11.00 (+10.0%)",
        "CPU a job, us 1000.00 -> 1200.00 (+20.0%)",
        "memory, MB 50.00 -> 60.00 (+20.0%)",
        "file, MB 2.00 -> 2.00 (+0.0%)",
    ]


async def request_of(reader: asyncio.StreamReader) -> None:
    """Read one."""
    fields = (await reader.readuntil(b"\r\n\r\n")).partition(b"Content-Length: ")[2]
    await reader.readexactly(int(fields.partition(b"\r\n")[0]))


def answered(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def port_of(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port
