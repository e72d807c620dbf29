"""The stateful harness finds nothing in our stores, and finds every bug that is planted in them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress

import pytest
from click.testing import CliRunner

from asyncjobs import transitions
from asyncjobs.cli import main
from asyncjobs.errors import Conflict, InvalidTransition
from asyncjobs.job import State
from asyncjobs.store import Store
from asyncjobs.stores import MemoryStore
from asyncjobs.testing import NOW, REQUEST, a_job
from asyncjobs.torture import bugs
from asyncjobs.torture.changes import CHANGES, Facts
from asyncjobs.torture.handles import STORES, Kind
from asyncjobs.torture.model import Call, World, explain
from asyncjobs.torture.stateful import run
from asyncjobs.transitions import TRANSITIONS

#: Steps within which each bug must be found; nearly all are within a few hundred.
FOUND_WITHIN = 10_000


@pytest.mark.parametrize("name", STORES)
def test_a_store_is_what_the_model_says(name: str) -> None:
    """No history of transitions, reads, rivals and faults makes a store differ from the model."""
    assert run(STORES[name], steps=400, seed=1).total() >= 400


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize(
    "bug",
    [
        bugs.NoVersionCheckOnFinish,
        bugs.AckOnceBegun,
        bugs.LosesResponses,
        bugs.NeverErases,
        bugs.ErasesForNothing,
        bugs.FindsForeignJobs,
    ],
)
def test_a_planted_bug_is_found(name: str, bug: Callable[[Store], Store]) -> None:
    """A store with a bug differs from the model, and the history that shows it is told."""
    with pytest.raises(AssertionError, match="no order of these calls explains") as found:
        run(STORES[name], steps=FOUND_WITHIN, seed=1, wrap=bug, shrink=False)
    assert any("state = Store()" in note for note in found.value.__notes__)


def test_a_process_that_lives_is_not_taken_for_dead() -> None:
    """A store that gives away the jobs of a process that is only silent is found out."""
    with pytest.raises(AssertionError, match="orphans"):
        run(STORES["sqlite"], steps=FOUND_WITHIN, seed=1, wrap=bugs.StoppedIsDead, shrink=False)


def test_every_step_of_the_table_is_among_the_changes() -> None:
    """The harness makes every transition that a job can make."""
    made = set()
    for state in State:
        for change in CHANGES.values():
            with suppress(InvalidTransition):
                made.add((state, change(a_job(state=state), Facts("worker", NOW, 1.0, 1)).state))
    assert made == {(state, to) for state, events in TRANSITIONS.items() for to in events.values()}


def test_outcomes_that_no_order_explains() -> None:
    """Two winners of one version are explained by no order of their calls, and one is by one."""
    job = a_job()
    (world,) = explain([World()], [(Call(0, "add", (job, REQUEST)), job)])
    rivals = [
        Call(handle, "replace", (job, transitions.start(job, f"{handle}", NOW)))
        for handle in (0, 1)
    ]
    assert not explain([world], [(rival, None) for rival in rivals])
    (one,) = explain([world], [(rivals[0], Conflict), (rivals[1], None)])
    assert one.kept[0].job.worker == "1"


def test_the_command_tells_what_it_did() -> None:
    """The command counts the steps that were made, by what they were."""
    result = CliRunner().invoke(
        main, ["torture", "stateful", "--store", "memory", "--steps", "50", "--seed", "1"]
    )
    assert result.exit_code == 0
    assert "steps, no difference to the model" in result.output


def test_the_command_fails_with_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command ends with 1 if a store is broken, and tells the history that shows it."""
    broken = Kind(lambda folder: bugs.AckOnceBegun(MemoryStore()))
    monkeypatch.setitem(STORES, "memory", broken)
    result = CliRunner().invoke(
        main, ["torture", "stateful", "--store", "memory", "--seed", "1", "--no-shrink"]
    )
    assert result.exit_code == 1
    assert "no order of these calls explains" in result.output
    assert "state = Store()" in result.output


def test_the_command_without_hypothesis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where hypothesis is missing, the command says what to install."""
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    result = CliRunner().invoke(main, ["torture", "stateful", "--store", "memory"])
    assert result.exit_code == 1
    assert "pip install 'quart-asyncjobs[torture]'" in result.output
