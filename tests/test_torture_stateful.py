"""The stateful harness finds nothing in our stores, and finds every bug that is planted in them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner

from asyncjobs.cli import main
from asyncjobs.store import Store
from asyncjobs.torture import bugs
from asyncjobs.torture.changes import CHANGES
from asyncjobs.torture.handles import STORES
from asyncjobs.torture.stateful import run

#: Each bug is found within so many steps, whatever the seed.
FOUND_WITHIN = 2000


@pytest.mark.parametrize("name", STORES)
def test_a_store_is_what_the_model_says(name: str) -> None:
    """No history makes a store differ from the model; transitions, faults and rivals are in it."""
    counts = run(STORES[name], steps=300, seed=1)
    assert counts.total() >= 300
    assert set(CHANGES) | {"add", "rivals", "purge", "find", "read"} <= set(counts)


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize(
    "bug",
    [
        bugs.NoVersionCheckOnFinish,
        bugs.AckBeforeCommit,
        bugs.LosesResponses,
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


def test_the_command_tells_what_it_did() -> None:
    """The command counts the steps that were made, by what they were."""
    result = CliRunner().invoke(
        main, ["torture", "stateful", "--store", "memory", "--steps", "50", "--seed", "1"]
    )
    assert result.exit_code == 0
    assert "steps, no difference to the model" in result.output
