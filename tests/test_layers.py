"""The map of the layers holds: a module imports only from lines below its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import asyncjobs

ROOT = Path(asyncjobs.__file__).parent

#: From the top down, as ARCHITECTURE.md draws them. A package stands for all of its modules.
LAYERS = [
    ["__main__"],
    ["cli"],
    ["demo", "torture"],
    ["__init__"],
    ["web", "testing"],
    ["jobs"],
    ["engines"],
    ["engine"],
    ["functions"],
    ["running"],
    ["verdict"],
    ["handler", "watch", "program"],
    ["settings"],
    ["stores"],
    ["hints", "daemons", "apart"],
    ["store"],
    ["outcome", "problem", "documents", "transitions", "arguments"],
    ["job", "forms"],
    ["errors", "given", "tasks", "slices", "shapes", "origin"],
    ["annotations", "credentials"],
]
RANK = {name: rank for rank, names in enumerate(reversed(LAYERS)) for name in names}


def layer_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports_of(path: Path) -> set[str]:
    """The layers that a module of ours imports from."""
    package = ["asyncjobs", *path.relative_to(ROOT).parent.parts]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            names = (
                [[*module, alias.name] for alias in node.names] if node.module is None else [module]
            )
            found |= {
                name[1] if len(name) > 1 else "__init__" for name in names if name[0] == "asyncjobs"
            }
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("asyncjobs") for alias in node.names), path
    return found


# The harnesses are kept with the tests, and are a part of the package by a symbolic link, which
# `rglob` does not follow.
MODULES = sorted([*ROOT.rglob("*.py"), *(ROOT / "torture").glob("*.py")])


def test_every_module_has_a_layer() -> None:
    """No module is without a place on the map."""
    assert {layer_of(path) for path in MODULES} <= set(RANK)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downwards(path: Path) -> None:
    """A module imports from its own layer's package and from lower layers only."""
    layer = layer_of(path)
    upwards = {
        name
        for name in imports_of(path)
        if name != layer and RANK.get(name, len(LAYERS)) >= RANK[layer]
    }
    assert not upwards


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_web_knows_quart(path: Path) -> None:
    """Jobs can be embedded in a program without a web framework: the core imports none."""
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    if layer_of(path) not in {"web", "demo", "cli", "torture"}:
        assert not imported & {"quart", "flask", "hypercorn"}
