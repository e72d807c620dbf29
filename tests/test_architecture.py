"""The page that says how it works is true: its files, its table and its map are the code's."""

from __future__ import annotations

import re
from pathlib import Path

import asyncjobs
from asyncjobs.transitions import TRANSITIONS
from test_layers import LAYERS

SOURCE = Path(asyncjobs.__file__).parent
PAGE = (SOURCE.parents[1] / "ARCHITECTURE.md").read_text()


def section(title: str) -> str:
    """What is drawn in the section of that title."""
    found = re.search(rf"^## {title}\n.*?```\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_each_file_of_the_page_is_there() -> None:
    """Every file and folder that the page names is in the package, the tests or the docs."""
    roots = [SOURCE, SOURCE / "stores" / "sqlite", SOURCE.parents[1], SOURCE.parents[1] / "tests"]
    roots += [SOURCE.parents[1] / "tests" / "torture"]
    named = re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|md)|(?:[\w-]+/)+)`", PAGE)
    assert len(named) > 50
    assert [name for name in named if not any((root / name).exists() for root in roots)] == []


def test_the_life_of_a_job_is_the_table() -> None:
    """What the page draws are the transitions that there are, no more and no fewer."""
    drawn = {}
    for line in section("The life of a job").splitlines():
        state, leads_to = line.split(" -> ")
        drawn[state] = set(leads_to.split(" | "))
    table = {
        state.value: {to.value for to in steps.values()} for state, steps in TRANSITIONS.items()
    }
    assert drawn == {state: leads_to for state, leads_to in table.items() if leads_to}


def test_the_layers_are_those_that_are_held() -> None:
    """The map of the layers is the one that the imports are held to."""
    drawn = [re.split(r" {2,}", line)[0] for line in section("Layers").splitlines()]
    assert [set(line.split(", ")) for line in drawn] == [set(names) for names in LAYERS]
