"""What the processes of a store tell each other: promptly, on interest, and never in the way."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncjobs import transitions
from asyncjobs.hints import Changed, Hint, Hints, Overruled, Queued, Something
from asyncjobs.store import Query
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite.neighbours import datagrams, neighbours, outbox
from asyncjobs.stores.sqlite.neighbours.bell import Bell
from asyncjobs.stores.sqlite.neighbours.datagrams import MAX_SIZE, Mailbox
from asyncjobs.stores.sqlite.neighbours.interest import (
    EVERYBODY,
    Asked,
    Wanted,
    whom_to_ask,
    whom_to_tell,
)
from asyncjobs.stores.sqlite.neighbours.messages import (
    PER_DATAGRAM,
    Ask,
    Tell,
    decode,
    encode,
    word_of,
)
from asyncjobs.stores.sqlite.neighbours.outbox import Outbox
from asyncjobs.stores.sqlite.processes.names import socket_of
from asyncjobs.testing import BROKEN, CANCELLED, NOW, REQUEST, RESPONSE, a_job
from waits import until

DEADLINE = 20
ME, PEER = "a" * 16, "b" * 16

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="unix sockets are missing on this system"
)


# Who is asked and who is told.


def test_who_runs_a_job_is_asked_about_it() -> None:
    """About a job that runs elsewhere its worker is asked, and everybody about a queued one."""
    job = a_job()
    assert whom_to_ask(job, ME) == EVERYBODY
    assert whom_to_ask(transitions.start(job, PEER, NOW), ME) == PEER


def test_nobody_is_asked_for_nothing() -> None:
    """Nobody is asked about a job that runs here, nor about one that has its result."""
    running = transitions.start(a_job(), ME, NOW)
    assert whom_to_ask(running, ME) is None
    assert whom_to_ask(transitions.fail(running, NOW, BROKEN), ME) is None
    assert whom_to_ask(transitions.fail(running, NOW, BROKEN), PEER) is None


def test_whom_a_write_concerns_is_told() -> None:
    """Who runs a job hears when another process changes it; all hear of what is queued."""
    job = a_job()
    theirs = transitions.start(job, PEER, NOW)
    overruled = [(PEER, Overruled()), (PEER, Changed(job.id))]
    assert list(whom_to_tell(None, job, ME)) == [(EVERYBODY, Queued())]
    assert list(whom_to_tell(theirs, transitions.ask_to_cancel(theirs), ME)) == overruled
    assert list(whom_to_tell(theirs, transitions.rescue(theirs, NOW, "its process died"), ME)) == [
        *overruled,
        (EVERYBODY, Queued()),
    ]
    assert list(whom_to_tell(job, transitions.cancel(job, NOW, CANCELLED), ME)) == []


def test_a_process_tells_nobody_of_its_own_work() -> None:
    """To start, advance and finish a job of one's own concerns only those who have asked."""
    ours = transitions.start(a_job(), ME, NOW)
    assert list(whom_to_tell(None, ours, ME)) == []
    assert list(whom_to_tell(a_job(), ours, ME)) == []
    assert list(whom_to_tell(ours, transitions.finish(ours, 200, NOW), ME)) == []
    assert list(whom_to_tell(ours, transitions.release(ours, "given back"), ME)) == [
        (EVERYBODY, Queued())
    ]


def test_a_question_is_asked_once() -> None:
    """The same is not asked twice, until it was answered; a new version is a new question."""
    asked, job = Asked(), transitions.start(a_job(), PEER, NOW)
    assert [asked.add(PEER, job), asked.add(PEER, job)] == [True, False]
    assert asked.add(PEER, transitions.ask_to_cancel(job))
    asked.answered([job.id, "unknown"])
    assert asked.add(PEER, transitions.ask_to_cancel(job))


def test_an_answer_is_given_once() -> None:
    """All who have asked about a job are told of its next change, and then forgotten."""
    wanted = Wanted()
    for name in (ME, PEER, PEER):
        wanted.add(name, "job")
    assert sorted(wanted.take(["other", "job"])) == [(ME, "job"), (PEER, "job")]
    assert list(wanted.take(["job"])) == []
    assert not wanted


def test_questions_are_forgotten_rather_than_piled_up() -> None:
    """Of too many questions the oldest are forgotten, on both sides."""
    jobs = [a_job() for _ in range(4)]
    asked, wanted = Asked(limit=3), Wanted(limit=3)
    for job in jobs:
        assert asked.add(EVERYBODY, job)
        wanted.add(PEER, job.id)
    assert [asked.add(EVERYBODY, job) for job in reversed(jobs)] == [False, False, False, True]
    assert [job_id for _, job_id in wanted.take(job.id for job in jobs)] == [
        job.id for job in jobs[1:]
    ]


def test_many_who_ask_about_a_job_are_forgotten_as_well() -> None:
    """It is questions that are counted, not jobs: many names under one job are no more than many
    jobs, and what was answered or forgotten counts no more."""
    wanted = Wanted(limit=3)
    for _ in range(2):
        for name in ("one", "two", "two"):
            wanted.add(name, "job")
        assert sorted(wanted.take(["job"])) == [("one", "job"), ("two", "job")]
    for number in range(1000):
        wanted.add(str(number), "job")
    assert len(list(wanted.take(["job"]))) <= 3
    for name in ("one", "two"):
        wanted.add(name, "old")
    for name in ("one", "two"):
        wanted.add(name, "new")
    assert sorted(wanted.take(["old", "new"])) == [("one", "new"), ("two", "new")]


# What goes over the wire.


def test_messages_are_read_as_they_were_written() -> None:
    """A question and a hint arrive as they were sent, as many to a datagram as fit."""
    known = {a_job().id: 2**63 - 1 - number for number in range(PER_DATAGRAM + 1)}
    things = [f"{job_id}:{version}" for job_id, version in known.items()]
    datagram, fitting = encode(f"ask {ME}", things)
    assert fitting == things[:PER_DATAGRAM]
    assert len(datagram) <= MAX_SIZE
    assert decode(datagram) == Ask(ME, dict(list(known.items())[:PER_DATAGRAM]))
    hints = (Queued(), Overruled(), Changed(a_job().id))
    assert decode(encode("tell", map(word_of, hints))[0]) == Tell(hints)


def test_hints_are_said_in_the_words_of_earlier_releases() -> None:
    """What a process of an earlier release says is understood, and what is said to it is what it
    knows, byte for byte; which route was queued is nothing that it would understand."""
    job_id = "0123456789abcdef" * 2
    hints = (Changed(job_id), Queued(), Overruled())
    datagram = f"tell {job_id} queued overruled".encode()
    assert decode(datagram) == Tell(hints)
    assert encode("tell", map(word_of, (hints[0], Queued("report"), hints[2])))[0] == datagram


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b" ", b"\xff", b"shout", b"ask", b"ask ../../x", b"ask \xe4"),
        encode(f"ask {ME}x", [])[0],
    ],
)
def test_what_is_no_message_is_ignored(data: bytes) -> None:
    """Whatever arrives that is no message means nothing."""
    assert decode(data) is None


def test_what_is_wrong_within_a_message_is_left_out() -> None:
    """Of a message only what makes sense is taken."""
    job_id = a_job().id
    assert decode(f"tell  x {job_id} {job_id}0 QUEUED".encode()) == Tell((Changed(job_id),))
    assert decode(f"ask {ME} x {job_id} {job_id}:3 {job_id}:-1".encode()) == Ask(ME, {job_id: 3})


def test_of_too_much_within_a_message_as_much_is_taken_as_is_sent() -> None:
    """A datagram has no more in it for who gets it than one that `encode` makes."""
    ids = [a_job().id for _ in range(PER_DATAGRAM + 15)]
    asked = " ".join(["ask", ME, *(f"{job_id}:1" for job_id in ids)]).encode()
    assert decode(asked) == Ask(ME, dict.fromkeys(ids[:PER_DATAGRAM], 1))
    assert decode(" ".join(["tell", *ids]).encode()) == Tell(
        tuple(map(Changed, ids[:PER_DATAGRAM]))
    )


@given(st.binary())
def test_any_bytes_can_be_read(data: bytes) -> None:
    """Whatever arrives, to read it is no error."""
    assert isinstance(decode(data), Ask | Tell | None)
    assert isinstance(decode(b"ask " + data), Ask | None)
    assert isinstance(decode(b"tell " + data), Tell | None)


# When it goes.


async def test_a_bell_rings_at_once_and_at_the_end() -> None:
    """The first to pull has it ring at once, and who pulls while it rests, when that is over."""
    loop = asyncio.get_running_loop()
    rung: list[float] = []
    bell = Bell(lambda: rung.append(loop.time()), rest=0.05)
    for _ in range(5):
        bell.pull()
    assert len(rung) == 1
    await until(lambda: len(rung) == 2)
    assert rung[1] - rung[0] >= 0.05
    bell.pull()
    bell.close()
    assert len(rung) == 3


async def test_what_is_said_in_a_turn_goes_together() -> None:
    """What is said to a peer in one turn of the loop is one datagram with nothing in it twice."""
    sent: list[bytes] = []
    box = Outbox(lambda data: sent.append(data) is None)
    for thing in ("one", "two", "one"):
        box.put("tell", thing)
    await asyncio.sleep(0)
    assert sent == [b"tell one two"]


async def test_a_full_queue_is_tried_again() -> None:
    """What a busy peer's queue does not take is sent when it does, with what came up meanwhile."""
    sent: list[bytes] = []
    full = True
    box = Outbox(lambda data: not full and sent.append(data) is None)
    box.put("tell", "one")
    await asyncio.sleep(0)
    box.put("tell", "two")
    full = False
    await until(lambda: sent)
    assert sent == [b"tell one two"]


async def test_a_peer_that_does_not_listen_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped peer misses what was said, and costs one try for what is said later."""
    monkeypatch.setattr(outbox, "FIRST_RETRY", 0.001)
    monkeypatch.setattr(outbox, "LAST_RETRY", 0.002)
    tries: list[bytes] = []
    sent: list[bytes] = []
    stopped = True

    def send(data: bytes) -> bool:
        (tries if stopped else sent).append(data)
        return not stopped

    box = Outbox(send)
    box.put("tell", "one")
    await until(lambda: len(tries) == 3)
    box.put("tell", "two")
    await until(lambda: len(tries) == 4)
    assert tries[-1] == b"tell two"
    stopped = False
    box.put("tell", "three")
    await until(lambda: sent)
    assert sent == [b"tell three"]


# How it goes.


@pytest.fixture(params=["short", "long"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder whose path is short enough for the address of a socket, or too long for one."""
    if request.param == "long" and not Path("/proc/self/fd").is_dir():
        pytest.skip("without /proc a socket in a folder with a long path has no address")
    folder = tmp_path if request.param == "short" else tmp_path / ("x" * 100)
    folder.mkdir(exist_ok=True)
    return folder


async def test_datagrams_arrive(folder: Path) -> None:
    """A datagram gets to whom it is sent to, and only there, wherever the folder is."""
    got: dict[str, list[bytes]] = {ME: [], PEER: []}
    one, two = (mailbox(folder, name, got[name].append) for name in (ME, PEER))
    assert (one.others(), two.others()) == ([PEER], [ME])
    assert one.send(PEER, b"x" * MAX_SIZE)
    await until(lambda: got[PEER])
    assert got == {ME: [], PEER: [b"x" * MAX_SIZE]}
    assert stat.S_IMODE((folder / f"{ME}.sock").stat().st_mode) == 0o600
    one.close()
    two.close()
    assert list(folder.iterdir()) == []


async def test_nobody_to_send_to_is_no_error(tmp_path: Path) -> None:
    """A datagram to one who is gone is lost, whether its socket is left or not."""
    box = mailbox(tmp_path, ME)
    assert box.send(PEER, b"x")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(tmp_path / f"{PEER}.sock"))
    assert box.others() == [PEER]
    assert box.send(PEER, b"x")
    socket_of(tmp_path, PEER).unlink()
    assert box.others() == []
    box.close()


async def test_a_full_queue_is_told_of_at_once(tmp_path: Path) -> None:
    """To send to one who does not read never waits: in the end it says that the queue is full."""
    box = mailbox(tmp_path, ME)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stopped:
        stopped.bind(str(tmp_path / f"{PEER}.sock"))
        assert not all(box.send(PEER, bytes(MAX_SIZE)) for _ in range(10_000))
    box.close()


async def test_a_forked_child_leaves_the_socket_alone(tmp_path: Path) -> None:
    """A child has no socket, and its parent goes on to get its datagrams."""
    got: dict[str, list[bytes]] = {ME: [], PEER: []}
    one, two = (mailbox(tmp_path, name, got[name].append) for name in (ME, PEER))
    child = os.fork()
    if child == 0:
        one.send(PEER, b"from the child")
        one.close()
        os._exit(0)
    await asyncio.to_thread(os.waitpid, child, 0)
    assert two.send(ME, b"to the parent")
    assert one.send(PEER, b"from the parent")
    await until(lambda: got[ME] and got[PEER])
    assert got == {ME: [b"to the parent"], PEER: [b"from the parent"]}
    one.close()
    two.close()


async def test_datagrams_are_read_a_few_in_a_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many datagrams there are, the event loop gets its turn after a few of them."""
    monkeypatch.setattr(datagrams, "BATCH", 2)
    got: list[bytes] = []
    one, other = mailbox(tmp_path, ME, got.append), mailbox(tmp_path, PEER)
    sent = fill(other, ME, b"x")
    assert sent > 2 * datagrams.BATCH
    while len(got) < sent:
        before = len(got)
        await asyncio.sleep(0)
        assert len(got) - before <= datagrams.BATCH
    one.close()
    other.close()


async def test_questions_are_answered_a_few_in_a_turn(tmp_path: Path) -> None:
    """Who asks without end gets few answers in each turn of the event loop, by one look at the
    store; so the others get theirs."""
    looks: list[int] = []

    def versions_of(job_ids: Collection[str]) -> dict[str, int]:
        looks.append(len(job_ids))
        return {}

    one, other = neighbours.Neighbours(tmp_path, ME, Hints(), versions_of), mailbox(tmp_path, PEER)
    questions = 0
    for _ in range(200):
        asked = [f"{a_job().id}:1" for _ in range(PER_DATAGRAM)]
        questions += fill(other, ME, encode(f"ask {PEER}", asked)[0])
        before = len(looks)
        await asyncio.sleep(0)
        assert len(looks) - before <= 1
    assert questions > len(looks) > 0
    assert max(looks) <= PER_DATAGRAM * datagrams.BATCH
    one.close()
    other.close()


async def test_a_flood_of_questions_leaves_the_rest_its_turns(
    pair: tuple[SqliteStore, SqliteStore], tmp_path: Path
) -> None:
    """While a process asks without end, jobs are stored and the others are told of theirs."""
    owner, reader = pair
    flood = mailbox(tmp_path / "jobs.db-procs", ME)
    hints = reader.changes()
    for _ in range(10):
        job = await owner.add(transitions.start(a_job(), owner.worker, NOW), REQUEST)
        questions = [f"{a_job().id}:1" for _ in range(PER_DATAGRAM)]
        assert fill(flood, owner.worker, encode(f"ask {ME}", questions)[0])
        reader.follow(job)
        await owner.replace(job, transitions.finish(job, 200, NOW), RESPONSE)
        while await next_of(hints) != Changed(job.id):
            pass
    flood.close()


async def test_who_has_no_socket_has_asked_nothing(tmp_path: Path) -> None:
    """A question under a name that no socket has is not remembered, and nobody is told of it:
    there are as many such names as there are words. Nor does one that only looks so, or is one's
    own, count. Who has just come is heard."""
    job = a_job()
    looks: list[Collection[str]] = []

    def versions_of(job_ids: Collection[str]) -> dict[str, int]:
        looks.append(job_ids)
        return {job.id: 1}

    got: list[bytes] = []
    one = neighbours.Neighbours(tmp_path, ME, Hints(), versions_of)
    names = [f"{number:016x}" for number in range(1000)]
    for name in (*names, ME):
        for version in (1, 2):
            one._received(encode(f"ask {name}", [f"{job.id}:{version}"])[0])
    await asyncio.sleep(0)
    assert (looks, one._outboxes, bool(one._wanted)) == ([], {}, False)
    one.follow(transitions.start(job, "../x", NOW))
    one.follow(transitions.start(a_job(), names[0], NOW))
    assert one._outboxes == {}

    other = mailbox(tmp_path, PEER, got.append)
    one._received(encode(f"ask {PEER}", [f"{job.id}:1"])[0])
    await asyncio.sleep(0)
    one.changed([job.id])
    await until(lambda: got)
    assert (got, len(looks)) == ([encode("tell", [job.id])[0]], 1)
    one.close()
    other.close()


async def test_what_others_tell_is_handed_on_a_few_in_a_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much others tell, each turn of the event loop hands on a little of it, once; and of
    more than what may wait the rest is lost."""
    monkeypatch.setattr(neighbours, "HINTS_PER_TURN", 10)
    monkeypatch.setattr(neighbours, "MAX_HINTS", 2 * PER_DATAGRAM + 5)
    hints = Hints()
    one = neighbours.Neighbours(tmp_path, ME, hints, lambda job_ids: {})
    turns: list[list[Hint]] = []
    monkeypatch.setattr(hints, "send", turns.append)
    ids = [a_job().id for _ in range(4 * PER_DATAGRAM)]
    for start in range(0, len(ids), PER_DATAGRAM):
        for _ in range(2):
            one._received(encode("tell", ids[start : start + PER_DATAGRAM])[0])
    await until(lambda: not one._told)
    assert max(map(len, turns)) == 10
    assert [hint for turn in turns for hint in turn] == [
        Changed(job_id) for job_id in ids[: 2 * PER_DATAGRAM + 5]
    ]
    one._received(encode("tell", ["queued"])[0])
    await until(lambda: turns[-1] == [Queued()])
    one._received(encode("tell", ["queued"])[0])
    count = len(turns)
    one.close()
    await asyncio.sleep(0)
    assert not any(turns[count:])


async def test_questions_after_the_end_are_no_error(pair: tuple[SqliteStore, SqliteStore]) -> None:
    """What was asked in the last moment is not answered, and does no harm."""
    owner, _ = pair
    owner._neighbours._received(encode(f"ask {PEER}", [f"{a_job().id}:1"])[0])
    owner._neighbours.close()
    await asyncio.sleep(0)


# What it is for.


@pytest.fixture
async def pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[SqliteStore, SqliteStore]]:
    """Two stores on one file that have nothing but datagrams to hear of each other."""
    monkeypatch.setattr(neighbours, "NET_INTERVAL", 3600)
    path = tmp_path / "jobs.db"
    async with SqliteStore(path) as one, SqliteStore(path) as two:
        yield one, two


async def test_who_follows_a_job_hears_of_its_changes(
    pair: tuple[SqliteStore, SqliteStore],
) -> None:
    """Who follows a job that another process runs hears of each change of it, without polling."""
    owner, reader = pair
    job = await owner.add(transitions.start(a_job(), owner.worker, NOW), REQUEST)
    for changed in (
        transitions.ask_to_cancel(job),
        transitions.cancel(transitions.ask_to_cancel(job), NOW, CANCELLED),
    ):
        reader.follow(job)
        await turn_of(reader, owner)
        hints = reader.changes()
        await owner.replace(job, changed, RESPONSE if changed.state.is_final else None)
        assert await next_of(hints) == Changed(job.id)
        job = changed
    assert await reader.get(job.id) == job


async def test_who_follows_too_late_is_told_at_once(
    pair: tuple[SqliteStore, SqliteStore],
) -> None:
    """A change between the read of a job and the arrival of the question is told of as well."""
    owner, reader = pair
    job = await owner.add(transitions.start(a_job(), owner.worker, NOW), REQUEST)
    hints = reader.changes()
    await owner.replace(job, transitions.finish(job, 200, NOW), RESPONSE)
    reader.follow(job)
    assert await next_of(hints) == Changed(job.id)


async def test_of_a_queued_job_whoever_starts_it_tells(
    pair: tuple[SqliteStore, SqliteStore],
) -> None:
    """Who follows a queued job hears when another process starts it."""
    one, reader = pair
    job = await reader.add(a_job(), REQUEST)
    reader.follow(job)
    await turn_of(reader, one)
    hints = reader.changes()
    await one.replace(job, transitions.start(job, one.worker, NOW))
    assert await next_of(hints) == Changed(job.id)


async def test_many_readers_hear_of_many_jobs(pair: tuple[SqliteStore, SqliteStore]) -> None:
    """However many jobs are asked about and change at once, of each a hint gets through."""
    owner, reader = pair
    jobs = [transitions.start(a_job(), owner.worker, NOW) for _ in range(2000)]
    await asyncio.gather(*(owner.add(job, REQUEST) for job in jobs))
    hints = reader.changes()
    for job in jobs:
        reader.follow(job)
    await asyncio.gather(
        *(owner.replace(job, transitions.finish(job, 200, NOW), RESPONSE) for job in jobs)
    )
    left = {job.id for job in jobs}
    async with asyncio.timeout(DEADLINE):
        while left:
            hint = await anext(hints)
            left.discard(hint.job_id if isinstance(hint, Changed) else "")


async def test_to_read_asks_for_nothing(
    pair: tuple[SqliteStore, SqliteStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is read of a job that another process runs or may run, nothing is said for it: it
    takes somebody who waits. Who waits for the same is asked for once."""
    owner, reader = pair
    job = await owner.add(transitions.start(a_job(), owner.worker, NOW), REQUEST)
    queued = await owner.add(a_job(), REQUEST)
    await turn_of(reader, owner)
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(Outbox, "put", lambda box, head, thing: asked.append((head, thing)))
    for each in (job, queued):
        assert await reader.get(each.id) == each
        assert await reader.result(each.id) == (each, None)
        assert await reader.versions([each.id]) == {each.id: each.version}
        assert await reader.request(each.id) == REQUEST
        assert each in await reader.find(Query())
    assert asked == []
    for _ in range(3):
        reader.follow(job)
    assert asked == [(f"ask {reader.worker}", f"{job.id}:{job.version}")]


async def test_who_has_asked_nothing_is_told_nothing(
    pair: tuple[SqliteStore, SqliteStore],
) -> None:
    """What a process does with its own jobs wakes nobody in another."""
    owner, other = pair
    hints = other.changes()
    for _ in range(10):
        job = await owner.add(transitions.start(a_job(), owner.worker, NOW), REQUEST)
        await owner.replace(job, transitions.finish(job, 200, NOW), RESPONSE)
    await owner.add(a_job(), REQUEST)
    assert await next_of(hints) == Queued()


async def test_a_process_is_told_when_its_job_is_changed(
    pair: tuple[SqliteStore, SqliteStore],
) -> None:
    """Who runs a job that another process has cancelled hears of it, and so do its readers."""
    owner, other = pair
    job = await owner.add(transitions.start(a_job(), owner.worker, NOW), REQUEST)
    hints = owner.changes()
    await other.replace(job, transitions.ask_to_cancel(job))
    assert await next_of(hints) == Overruled()
    assert await next_of(hints) == Changed(job.id)


async def test_the_last_words_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process gives back as it stops, the others hear of."""
    monkeypatch.setattr(neighbours, "NET_INTERVAL", 3600)
    monkeypatch.setattr(neighbours, "BELL_INTERVAL", 3600)
    path = tmp_path / "jobs.db"
    async with SqliteStore(path) as heir:
        async with SqliteStore(path) as stopping:
            await stopping.add(a_job(), REQUEST)
            hints = heir.changes()
            assert await next_of(hints) == Queued()
            await stopping.add(a_job(), REQUEST)
        assert await next_of(hints) == Queued()


async def test_without_sockets_the_database_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are no datagrams, a process hears all the same that another has written."""
    monkeypatch.setattr(Mailbox, "open", lambda *args: None)
    path = tmp_path / "jobs.db"
    async with SqliteStore(path) as one, SqliteStore(path) as two:
        hints = two.changes()
        for _ in range(3):
            await one.add(a_job(), REQUEST)
            assert await next_of(hints) == Something()


async def test_lost_datagrams_are_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no datagram arrives, a process hears a little later that another has written."""
    monkeypatch.setattr(neighbours, "NET_INTERVAL", 0.1)
    monkeypatch.setattr(Mailbox, "send", lambda *args: True)
    path = tmp_path / "jobs.db"
    async with SqliteStore(path) as one, SqliteStore(path) as two:
        hints = two.changes()
        for _ in range(3):
            await one.add(a_job(), REQUEST)
            assert await next_of(hints) == Something()


async def test_a_stopped_process_holds_nobody_up(
    pair: tuple[SqliteStore, SqliteStore], tmp_path: Path
) -> None:
    """While a process is stopped the others go on telling each other; it hears again later."""
    one, two = pair
    with stopped_process(tmp_path / "jobs.db") as process:
        hints = two.changes()
        for _ in range(50):
            await one.add(a_job(), REQUEST)
            assert await next_of(hints) == Queued()
        process.send_signal(signal.SIGCONT)
        assert process.stdout is not None
        while line := await asyncio.to_thread(process.stdout.readline):
            if line == b"heard\n":
                break
            await one.add(a_job(), REQUEST)
        assert line == b"heard\n"


async def test_a_dead_process_leaves_no_socket(
    pair: tuple[SqliteStore, SqliteStore], tmp_path: Path
) -> None:
    """The socket of a process that was killed is removed with its lock file."""
    folder = tmp_path / "jobs.db-procs"
    before = set(folder.iterdir())
    with stopped_process(tmp_path / "jobs.db") as process:
        assert {path.suffix for path in set(folder.iterdir()) - before} == {".lock", ".sock"}
        process.kill()
    assert await pair[0].orphans() == []
    assert set(folder.iterdir()) == before


_LISTENER = """
import asyncio, os, signal, sys
from asyncjobs.stores import SqliteStore

async def main():
    async with SqliteStore(sys.argv[1]) as store:
        hints = store.changes()
        print("ready", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
        await anext(hints)
        print("heard", flush=True)

asyncio.run(main())
"""


@contextmanager
def stopped_process(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the store open and is stopped; continued, it says when it hears."""
    with subprocess.Popen(
        [sys.executable, "-c", _LISTENER, str(path)], stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            assert os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT) is not None
            yield process
        finally:
            process.kill()


async def next_of(hints: AsyncIterator[Hint]) -> Hint:
    """The next hint."""
    async with asyncio.timeout(DEADLINE):
        return await anext(hints)


async def turn_of(*stores: SqliteStore) -> None:
    """Let each hear what was said so far: a question and its answer go through, and come last."""
    one, two = stores
    probe = await two.add(transitions.start(a_job(), two.worker, NOW), REQUEST)
    hints = one.changes()
    one.follow(probe)
    await two.replace(probe, transitions.fail(probe, NOW, BROKEN), RESPONSE)
    assert await next_of(hints) == Changed(probe.id)


def fill(box: Mailbox, name: str, data: bytes) -> int:
    """Send it to the process called `name` until its queue is full; how often."""
    sent = 0
    while sent < 1000 and box.send(name, data):
        sent += 1
    return sent


def mailbox(
    folder: Path, name: str, received: Callable[[bytes], None] = lambda data: None
) -> Mailbox:
    box = Mailbox.open(folder, name, received)
    assert box is not None
    return box
