"""The comparison with others in bench/peers: what it prints, and whom it leaves out."""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench.peers import __main__ as command
from bench.peers import environments, processes, processor, redis_server
from bench.peers.embedded_rounds import EmbeddedPairs, parse
from bench.peers.http_rounds import Load, Pairs
from bench.peers.pairing import paired
from bench.peers.peers import AOF, AT_ONCE, LOG, OURS, PEERS, RDB, SQLITE
from bench.peers.processes import ROOT, Processes
from bench.peers.table import Round, Row, embedded_table, http_table, version_table

THEIRS = Round(200, 0.004, 3.0, (0.002, 0.004), (0.010, 0.030))
OUR_ROUND = Round(400, 0.002, 2.0, (0.001, 0.004), (0.005, 0.010))
PYTHON = Path(sys.executable)


def test_a_row_over_http_says_what_its_peer_is_of_ours() -> None:
    """Rates and processor time are medians of pairs, latencies are of the jobs of all rounds."""
    slow = replace(THEIRS, rate=100, cpu=0.006)
    fast = replace(OUR_ROUND, rate=1000)
    row = Row("SAQ", "nothing", (THEIRS, slow, THEIRS), (OUR_ROUND, fast, OUR_ROUND))
    assert http_table([row]).splitlines() == [
        "| over HTTP | jobs/s | CPU a job | requests a job | 202 | result "
        "| durable when the 202 is sent |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| SAQ | 200 (0.50) | 4.00 ms (2.00) | 3.0 | p50 2.0 ms (2.00) | p50 10.0 ms (2.00) "
        "| nothing |",
    ]


def test_a_tail_is_that_which_so_many_jobs_can_tell() -> None:
    """Of a thousand in all rounds together it is p99, of fewer it is less, and says so."""
    times = [0.001] * 485 + [0.003] * 15
    theirs = replace(THEIRS, accepted=(*times,), results=(*times,))
    ours = replace(OUR_ROUND, accepted=(0.001,) * 500, results=(0.001,) * 500)
    several = Row("SAQ", "nothing", (theirs, theirs), (ours, ours))
    assert "| p50 1.0, p99 3.0 ms (1.00, 3.00) |" in http_table([several])
    one = Row("SAQ", "nothing", (theirs,), (ours,))
    assert "| p50 1.0, p95 1.0 ms (1.00, 1.00) |" in http_table([one])


def test_a_result_in_one_request_is_not_compared_with_the_202_of_others() -> None:
    """A row whose first answers are the results has no 202, and says what is durable then."""
    at_once = replace(OUR_ROUND, requests=1.0, accepted=())
    row = Row("ours", AT_ONCE.durable, (at_once,), (OUR_ROUND,))
    assert (
        http_table([row])
        .splitlines()[2]
        .endswith(
            "| 1.0 | none | p50 5.0 ms (1.00) "
            "| there is no 202: with the result, the job and its result, on disk |"
        )
    )


def test_a_row_of_one_program_has_no_requests() -> None:
    """It has the same figures without those of HTTP."""
    row = Row("arq", "the job", (THEIRS,), (OUR_ROUND,))
    assert embedded_table([row]).splitlines()[2] == (
        "| arq | 200 (0.50) | 4.00 ms (2.00) | p50 10.0 ms (2.00) | the job |"
    )


def test_the_versions_stand_beside_the_settings() -> None:
    """Of Python and of each distribution that matters."""
    table = version_table([("SAQ", {"python": "3.13.0", "saq": "0.26.4"}, "as it comes")])
    assert table.splitlines()[2] == "| SAQ | python 3.13.0, saq 0.26.4 | as it comes |"


def test_what_a_library_prints_is_no_figure() -> None:
    """The last line of a program has what it measured."""
    said = 'hello\n{"rate": 10.0, "cpu": 0.1, "results": [0.2]}\n'
    assert parse(said) == Round(10, 0.1, 0, (), (0.2,))


def test_each_peer_has_its_programs() -> None:
    """An app, and a program if it is measured in one."""
    for peer in (OURS, *PEERS):
        assert (ROOT / "bench/peers/apps" / f"{peer.name}.py").exists()
        assert not peer.embedded or (ROOT / "bench/peers/embedded" / f"{peer.name}.py").exists()


def test_without_redis_those_on_it_are_left_out_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are measured."""
    (huey,) = (peer for peer in PEERS if peer.name == "huey")
    monkeypatch.setattr(redis_server, "version", lambda: None)
    assert list(command.kept({huey: PYTHON}, "keepers")) == [(huey, SQLITE)]
    told = capsys.readouterr().err
    for keeper in (RDB, AOF):
        assert f"huey, {keeper.title} is left out: there is no redis-server: install it" in told


def test_who_cannot_be_installed_is_left_out_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What pip says of it is told, and the environment is not taken for a good one next time."""
    missing = replace(PEERS[0], packages=(str(tmp_path / "nowhere"),))
    assert list(command.prepare([missing, OURS], tmp_path)) == [(OURS, PYTHON)]
    told = capsys.readouterr().err
    assert "SAQ is left out: its packages can't be installed" in told
    assert "nowhere" in told
    assert not (tmp_path / "saq" / "installed").exists()


def test_the_versions_are_those_of_the_environment() -> None:
    """Asked for in its own Python."""
    found = environments.versions(OURS, PYTHON)
    assert list(found) == ["python", *OURS.shown]


def test_the_time_of_threads_that_have_ended_counts() -> None:
    """The clock of a process is the one that it has itself."""
    thread = threading.Thread(target=lambda: sum(range(1_000_000)))
    thread.start()
    thread.join()
    before = time.process_time()
    assert before <= processor.of_process(os.getpid()) <= time.process_time()
    assert processor.of_sessions({os.getsid(0)}) >= before


def test_what_does_not_leave_when_it_is_asked_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that no round waits long for the end of what was measured before."""
    monkeypatch.setattr(processes, "LEAVE", 0.1)
    stays = (
        "import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "pathlib.Path('ready').touch(); time.sleep(600)"
    )
    with Processes(tmp_path) as started:
        pid = started.start([sys.executable, "-c", stays])
        started.until((tmp_path / "ready").stat)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_pair_of_which_one_fails_does_not_count() -> None:
    """It is told why, and the row says how many there are; if all fail there is no row."""
    said: list[str] = []
    theirs = iter([THEIRS, None, THEIRS, None])

    def lossy() -> Round:
        found = next(theirs)
        if found is None:
            raise TimeoutError("a job is lost")
        return found

    row = paired("SAQ", "nothing", 3, (lambda: OUR_ROUND, lossy), said.append)
    assert row == Row(
        "SAQ (1 of 3 rounds failed)", "nothing", (THEIRS, THEIRS), (OUR_ROUND, OUR_ROUND)
    )
    assert "SAQ, round 2 failed: a job is lost" in said
    with pytest.raises(RuntimeError, match="all of its rounds have failed"):
        paired("SAQ", "nothing", 1, (lambda: OUR_ROUND, lossy), said.append)


def test_ours_is_measured_over_http(tmp_path: Path) -> None:
    """Each way to the result beside the poll that waits."""
    said: list[str] = []
    with Pairs(tmp_path, Load(8, 2, 20, 4), 1, said.append) as pairs:
        rows = [*pairs.ours(), pairs.baseline()]
    assert rows[0].title == "asyncjobs, polls at intervals"
    assert all(len(each.accepted) == 4 for each in (*rows[0].rounds, *rows[-1].rounds))
    assert rows[1].title == "asyncjobs, `Prefer: wait` on the submission"
    assert all((each.accepted, each.requests) == ((), 1) for each in rows[1].rounds)
    assert all(each.requests >= 2 and len(each.results) == 4 for each in rows[0].rounds)
    assert rows[-1].rounds == rows[-1].ours
    assert all(each.rate > 0 and each.cpu > 0 for row in rows for each in row.rounds)
    assert any("polls at intervals, round 1" in line for line in said)


def test_ours_is_measured_in_one_program() -> None:
    """In a process of its own."""
    pairs = EmbeddedPairs(8, 2, 1, lambda line: None)
    row = pairs.peer(OURS, LOG, PYTHON)
    assert all(each.rate > 0 and each.cpu > 0 and each.results for each in row.rounds)
    assert pairs.baseline().rounds == row.ours
