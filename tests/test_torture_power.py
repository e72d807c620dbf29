"""The power harness: it finds no loss where there is none, and every loss where there is one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncjobs.torture.acks import Promises
from asyncjobs.torture.bugs import POWER_BUGS
from asyncjobs.torture.disk import SECTOR, Disk, sectors
from asyncjobs.torture.power import lay_out, power, record
from asyncjobs.torture.recording import (
    Ack,
    Call,
    Create,
    RecordUnreadable,
    Step,
    Sync,
    Truncate,
    Unlink,
    Write,
    read_steps,
)
from asyncjobs.torture.recovery import Findings, examine
from asyncjobs.torture.strace import why_not

#: How long an example takes says something about the machine only.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

FOLDER = Path("/somewhere/store")
FILES = ["jobs.db", "jobs.db-wal"]


# --- the harness as a whole ---


@pytest.fixture(scope="module")
def _can_trace() -> None:
    if (reason := why_not()) is not None:
        pytest.skip(reason)


def run(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(power, ["--folder", str(folder), *options])


@pytest.mark.usefixtures("_can_trace")
def test_no_acknowledged_write_is_lost(tmp_path: Path) -> None:
    """Whenever the power fails, the store opens again and keeps all that it has acknowledged."""
    # A run is short, and by chance SQLite may not have cut its log back in it.
    for number in range(3):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        result = run(folder, "--states", "300", "--jobs", "25", "--rounds", "2")
        if "this proves nothing" not in result.output:
            break
    assert result.exit_code == 0, result.output
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("_can_trace")
@pytest.mark.parametrize("bug", POWER_BUGS)
def test_bugs_are_found(bug: str, tmp_path: Path) -> None:
    """A store that does not keep the promise is found out; what is wrong can be looked at again."""
    # At the least, one state in four is bad.
    options = ["--states", "100", "--jobs", "25", "--rounds", "1"]
    seen = run(tmp_path, "--bug", bug, "--seed", "7", *options)
    assert seen.exit_code == 1
    found = re.search(r"^state (\d+),.*$", seen.output, re.MULTILINE)
    assert found, seen.output
    (kept,) = tmp_path.iterdir()
    again = run(tmp_path, "--again", str(kept), "--seed", "7", "--state", found[1])
    assert again.exit_code == 1
    assert found[0] in again.output


@pytest.mark.usefixtures("_can_trace")
async def test_a_store_can_be_opened_though_power_failed_while_it_was_made(tmp_path: Path) -> None:
    """Nothing was promised by then, but nobody shall have to remove a damaged file either."""
    record(tmp_path, seed=0, jobs=1, rounds=1)
    steps = read_steps((tmp_path / "record").read_text().splitlines(), tmp_path / "store")
    # SQLite has a rollback journal at first, which the store never has again.
    disk, seen = Disk(), set()
    for step in itertools.takewhile(lambda step: step.call != Create("jobs.db-wal"), steps):
        disk.play(step)
        for seed in range(1000):
            files = disk.after_power_loss(Random(seed))
            if (what := tuple(sorted(files.items()))) not in seen:
                seen.add(what)
                lay_out(files, tmp_path / "found")
                findings = await examine(tmp_path / "found" / "jobs.db", Promises())
                assert findings == Findings([], []), step
    assert len(seen) > 50


@pytest.mark.usefixtures("_can_trace")
def test_a_record_that_proves_nothing_is_a_failure(tmp_path: Path) -> None:
    """If not all that is to be tried has happened while it was recorded, no clean result can be
    had: here, that the log was cut back."""
    run(tmp_path, "--states", "1", "--jobs", "1", "--rounds", "1", "--keep")
    (kept,) = tmp_path.iterdir()
    lines = (kept / "record").read_text().splitlines(keepends=True)
    (kept / "record").write_text("".join(line for line in lines if "ftruncate" not in line))
    result = run(tmp_path, "--states", "1", "--again", str(kept))
    assert result.exit_code == 1
    assert re.search("this proves nothing: .*no truncations", result.output)


# --- the record ---


def escaped(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


def path_of(name: str) -> str:
    return escaped(bytes(FOLDER / name))


def printed(call: Call) -> tuple[str, str]:
    """What strace prints of a call: until it begins, and once it has ended."""
    match call:
        case Write(name, offset, data):
            arguments = f'"{escaped(data)}", {len(data)}, {offset}'
            return f"pwrite64(3<{path_of(name)}>, {arguments}", f") = {len(data)}"
        case Truncate(name, size):
            return f"ftruncate(3<{path_of(name)}>, {size}", ") = 0"
        case Create(name):
            flags = "O_RDWR|O_CREAT|O_CLOEXEC, 0600"
            path = path_of(name)
            return f'openat(AT_FDCWD<{path_of("")}>, "{path}", {flags}', f") = 3<{path}>"
        case Unlink(name):
            return f'unlink("{path_of(name)}"', ") = 0"
        case Sync(name):
            return f"fdatasync(3<{path_of(name)}>", ") = 0"
        case Ack(line):
            data = line.encode() + b"\n"
            return f'write(5<{path_of("acks")}>, "{escaped(data)}", {len(data)}', f") = {len(data)}"


names = st.sampled_from(FILES)
writes = st.builds(Write, names, st.integers(0, 3000), st.binary(min_size=1, max_size=1500))
changes = st.one_of(writes, st.builds(Truncate, names, st.integers(0, 4000)))
calls = st.one_of(
    changes,
    st.builds(Create, names),
    st.builds(Unlink, names),
    st.builds(Sync, st.sampled_from(["", *FILES])),
    st.builds(Ack, st.text("0123456789abcdef ", min_size=1)),
)


@patient
@given(st.lists(st.lists(calls, max_size=5), max_size=4), st.randoms(use_true_random=False))
def test_a_record_is_read_back(threads: list[list[Call]], random: Random) -> None:
    """Whichever way the calls of several threads overlap, each begins and ends in its place."""
    halves = [
        [(name, call, ends) for call in made for ends in (False, True)]
        for name, made in enumerate(threads)
    ]
    order = [name for name, steps in enumerate(halves) for _ in steps]
    random.shuffle(order)
    shuffled = [halves[name].pop(0) for name in order]

    lines = []
    for name, call, ends in shuffled:
        before, after = printed(call)
        function = before.partition("(")[0]
        lines.append(
            f"{name}  <... {function} resumed>{after}\n"
            if ends
            else f"{name}  {before} <unfinished ...>\n"
        )
    steps = read_steps(lines, FOLDER)
    assert [(step.call, step.ends) for step in steps] == [each[1:] for each in shuffled]
    for number in {step.number for step in steps}:
        assert [step.ends for step in steps if step.number == number] == [False, True]


@patient
@given(st.lists(calls))
def test_a_call_on_one_line_begins_and_ends_there(made: list[Call]) -> None:
    """A call that no other came between has one line."""
    steps = read_steps([f"1  {''.join(printed(call))}\n" for call in made], FOLDER)
    assert [(step.call, step.ends) for step in steps] == [
        (call, ends) for call in made for ends in (False, True)
    ]


@pytest.mark.parametrize(
    "end",
    [
        "",
        "1  <... fdatasync resumed>) = ?\n",
        "1  <... fdatasync resumed>) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)\n",
    ],
)
def test_a_call_that_never_ended_has_begun(end: str) -> None:
    """What the end of the record, or of the process, has cut off has begun and not ended."""
    line = f"1  fdatasync(3<{path_of('jobs.db')}> <unfinished ...>\n"
    (step,) = read_steps([line, end] if end else [line], FOLDER)
    assert (step.call, step.ends) == (Sync("jobs.db"), False)


@pytest.mark.parametrize(
    "line",
    [
        f'1  unlink("{path_of("jobs.db")}") = -1 ENOENT (No such file or directory)',
        f"1  fdatasync(3<{path_of('jobs.db')}>) = -1 EIO (Input/output error)",
        f'1  pwrite64(3<{path_of("jobs.db-wal")}>(deleted), "\\x00", 1, 0) = 1',
        f'1  pwrite64(3<{path_of("jobs.db-shm")}>, "\\x00", 1, 0) = 1',
        f'1  pwrite64(3<{path_of("sub/jobs.db")}>, "\\x00", 1, 0) = 1',
        f'1  openat(AT_FDCWD<{path_of("")}>, "{path_of("jobs.db")}", O_RDONLY) = 3<>',
        "1  +++ exited with 0 +++",
        '1  write(1<\\x70\\x69\\x70\\x65>, "\\x0a", 1) = 1',
    ],
)
def test_what_changes_no_file_of_the_store_is_left_out(line: str) -> None:
    """Failed calls, unlinked files and files of others are no part of the record."""
    assert read_steps([line], FOLDER) == []


def test_a_write_that_was_cut_short_wrote_what_the_system_says() -> None:
    """Of a short write only the bytes that were taken count."""
    line = f'1  pwrite64(3<{path_of("jobs.db")}>, "\\x01\\x02\\x03", 3, 8) = 2'
    assert read_steps([line], FOLDER)[0].call == Write("jobs.db", 8, b"\x01\x02")


@pytest.mark.parametrize(
    "line",
    [
        f'1  pwrite64(3<{path_of("jobs.db")}>, "\\x00"..., 4096, 0) = 4096',
        f"1  fallocate(3<{path_of('jobs.db')}>, 0, 0, 4096) = 0",
        f'1  write(3<{path_of("jobs.db")}>, "\\x00", 1) = 1',
        f'1  rename("{path_of("other")}", "{path_of("jobs.db")}") = 0',
        f'1  openat(AT_FDCWD<>, "{path_of("jobs.db")}", O_RDWR|O_TRUNC) = 3<>',
    ],
)
def test_what_the_model_does_not_know_is_an_error(line: str) -> None:
    """A record that cannot be played faithfully is refused."""
    with pytest.raises(RecordUnreadable):
        read_steps([line], FOLDER)


# --- the disk ---


def played(*made: Call, names: Sequence[str] = FILES) -> Disk:
    """A disk with these files, after these calls, one after the other."""
    disk = Disk()
    for number, call in enumerate([*map(Create, names), Sync(""), *made]):
        for ends in (False, True):
            disk.play(Step(number, call, ends))
    return disk


def contents(made: Sequence[Call]) -> dict[str, bytes]:
    """What the files hold as long as the power stays on."""
    files = dict.fromkeys(FILES, b"")
    for call in made:
        match call:
            case Write(name, offset, data):
                old = files[name].ljust(offset, b"\0")
                files[name] = old[:offset] + data + old[offset + len(data) :]
            case Truncate(name, size):
                files[name] = files[name].ljust(size, b"\0")[:size]
    return files


seeds = st.integers(0, 2**32)


@patient
@given(st.lists(changes), seeds)
def test_what_is_synced_is_there(made: list[Call], seed: int) -> None:
    """Without a change since the last sync there is one state only, which has everything."""
    disk = played(*made, *map(Sync, FILES))
    assert disk.unsynced() == 0
    assert disk.after_power_loss(Random(seed)) == contents(made)


@patient
@given(st.lists(changes), st.lists(changes), seeds)
def test_nothing_is_there_that_was_never_written(
    synced: list[Call], unsynced: list[Call], seed: int
) -> None:
    """Each byte is the synced one or a later one in the same place, and never anybody else's."""
    disk = played(*synced, *map(Sync, FILES), *unsynced)
    durable = contents(synced)
    for name, found in disk.after_power_loss(Random(seed)).items():
        later = [call for call in unsynced if not isinstance(call, Sync) and call.name == name]
        may_be_zero = any(isinstance(call, Truncate) for call in later)
        for place, byte in enumerate(found):
            allowed = {
                call.data[place - call.offset]
                for call in later
                if isinstance(call, Write) and 0 <= place - call.offset < len(call.data)
            }
            if place < len(durable[name]):
                allowed.add(durable[name][place])
            if may_be_zero or place >= len(durable[name]):
                allowed.add(0)
            assert byte in allowed


@patient
@given(writes)
def test_a_torn_write_is_cut_at_the_borders_of_sectors(write: Write) -> None:
    """The sectors of a write are the write, and none of them reaches over a border."""
    parts = list(sectors(write))
    assert contents(parts) == contents([write])
    assert b"".join(part.data for part in parts) == write.data
    for part in parts:
        assert part.offset // SECTOR == (part.offset + len(part.data) - 1) // SECTOR


def outcomes(disk: Disk, name: str = "jobs.db") -> set[bytes | None]:
    """All contents of a file that many losses of power lead to."""
    return {disk.after_power_loss(Random(seed)).get(name) for seed in range(300)}


OLD = Write("jobs.db", 0, b"old")


def test_what_is_not_synced_may_be_there_in_any_part() -> None:
    """Writes may be missing, whichever came later, and so may be some of their sectors."""
    first, second = Write("jobs.db", 0, b"a"), Write("jobs.db", SECTOR - 1, b"bc")
    hole = bytes(SECTOR - 2)
    assert outcomes(played(first, second)) == {
        b"",
        b"a",
        b"a" + hole + b"b",
        b"a" + hole + b"bc",
        b"a" + hole + b"\0c",
        b"\0" + hole + b"b",
        b"\0" + hole + b"bc",
        b"\0" + hole + b"\0c",
    }


def test_a_truncation_may_be_missing_and_what_follows_there() -> None:
    """A file that was cut back and written again may have its old end."""
    disk = played(OLD, Sync("jobs.db"), Truncate("jobs.db", 0), Write("jobs.db", 0, b"n"))
    assert outcomes(disk) == {b"old", b"nld", b"", b"n"}


@pytest.mark.parametrize(
    ("order", "is_safe"),
    [
        (["write begins", "write ends", "sync begins", "sync ends"], True),
        (["write begins", "sync begins", "write ends", "sync ends"], False),
        (["sync begins", "write begins", "write ends", "sync ends"], False),
        (["write begins", "write ends", "sync begins"], False),
    ],
)
def test_a_sync_covers_what_had_ended_before_it_began(order: list[str], is_safe: bool) -> None:
    """It does so once it has ended itself, and covers nothing that was on its way."""
    numbers = {"write": (100, OLD), "sync": (101, Sync("jobs.db"))}
    disk = played()
    for words in order:
        what, how = words.split()
        disk.play(Step(*numbers[what], ends=how == "ends"))
    assert outcomes(disk) == ({b"old"} if is_safe else {b"", b"old"})


def test_another_file_is_synced_by_itself() -> None:
    """The sync of one file does nothing for another one."""
    assert b"" in outcomes(played(OLD, Sync("jobs.db-wal")))


def test_a_name_is_there_once_the_folder_is_synced() -> None:
    """A new file whose folder was not synced may be missing, though its content was synced."""
    made = [Create("jobs.db"), OLD, Sync("jobs.db")]
    assert outcomes(played(*made, names=[])) == {None, b"old"}
    assert outcomes(played(*made, Sync(""), names=[])) == {b"old"}


def test_a_removed_file_may_come_back_until_the_folder_is_synced() -> None:
    """And so may its old content in the place of a new file's."""
    made = [OLD, Sync("jobs.db"), Unlink("jobs.db")]
    assert outcomes(played(*made)) == {None, b"old"}
    anew = [*made, Create("jobs.db"), Write("jobs.db", 0, b"new"), Sync("jobs.db")]
    assert outcomes(played(*anew)) == {None, b"old", b"new"}
    assert outcomes(played(*anew, Sync(""))) == {b"new"}


# --- the promises ---


@dataclass
class Case:
    lines: list[str]
    versions: dict[str, int]
    broken: int


@pytest.mark.parametrize(
    "case",
    [
        Case(["stored a 1 9"], {}, 1),
        Case(["stored a 1 9"], {"a": 1}, 0),
        Case(["stored a 1 9", "stored a 2 9"], {"a": 1}, 1),
        Case(["stored a 1 9", "stored a 2 9"], {"a": 3, "b": 1}, 0),
        Case(["stored a 1 9", "stored b 1 8", "purging 9"], {}, 1),
        Case(["stored a 1 9", "purging 10", "purging 5"], {}, 0),
    ],
)
def test_a_promise_is_broken_by_a_missing_or_an_older_job(case: Case) -> None:
    """A newer version keeps it too, and a purge that has begun ends those of what had expired."""
    promises = Promises()
    for line in case.lines:
        promises.take(line)
    assert len(promises.broken(case.versions)) == case.broken
