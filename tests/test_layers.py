"""The map of the layers holds: a module imports only from lines below its own."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import TypeGuard, TypeVar

import pytest

import asyncjobs
import asyncjobs.web as quart_extension

ROOT = Path(asyncjobs.__file__).parent

#: From the top down, as ARCHITECTURE.md draws them. A package stands for all of its modules.
LAYERS = [
    ["__main__"],
    ["cli"],
    ["demo", "torture"],
    ["__init__"],
    ["web", "testing"],
    ["jobs"],
    ["opened", "health"],
    ["engines"],
    ["engine"],
    ["functions"],
    ["running"],
    ["handler", "program"],
    ["settings"],
    ["control", "backlog", "firsts"],
    ["watch", "stores"],
    ["paging", "daemons"],
    ["store"],
    ["log", "verdict"],
    ["events"],
    ["listing", "outcome", "problem", "documents", "transitions", "arguments", "hints", "styles"],
    ["key"],
    ["job", "forms"],
    ["errors", "given", "owner", "tasks", "slices", "shapes", "origin"],
    ["annotations", "credentials"],
]
RANK = {name: rank for rank, names in enumerate(reversed(LAYERS)) for name in names}

#: The same for the parts of web/, as its docstring draws it.
WEB_LAYERS = [
    ["__init__"],
    *(
        [name]
        for name in re.findall(r"^ {4}(\w+) {2}", quart_extension.__doc__ or "", re.MULTILINE)
    ),
]
WEB_RANK = {name: rank for rank, names in enumerate(reversed(WEB_LAYERS)) for name in names}


SQLITE = ROOT / "stores" / "sqlite"
#: The same within the SQLite store. How it writes and how it hears of others know of each other
#: nothing: both know the processes, and the store knows both.
SQLITE_LAYERS = [
    ["__init__"],
    ["guests"],
    ["store"],
    ["reader"],
    ["file", "mender"],
    ["database", "backups"],
    ["listing"],
    ["schema", "queries", "salvage"],
    ["writing", "neighbours"],
    ["start_errors", "owners"],
    ["processes", "custody"],
    ["private", "identity", "paths", "rows", "shape", "keys"],
]
SQLITE_RANK = {name: rank for rank, names in enumerate(reversed(SQLITE_LAYERS)) for name in names}


#: The harnesses, which are a layer of the package although they are kept with the tests.
TORTURE = Path(__file__).parent / "torture"


def in_package(path: Path) -> Path:
    """Where a module of ours is, from the package on."""
    return path.relative_to(ROOT if path.is_relative_to(ROOT) else TORTURE.parent)


def layer_of(path: Path, root: Path = ROOT) -> str:
    """Where a module is on the map of the package, or of a part of it."""
    within = in_package(path).relative_to(root.relative_to(ROOT))
    return within.with_suffix("").parts[0]


def modules_of(path: Path) -> list[list[str]]:
    """The modules that a module of ours imports from, of ours as well: the parts of their names."""
    package = ["asyncjobs", *in_package(path).parent.parts]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            names = (
                [[*module, alias.name] for alias in node.names] if node.module is None else [module]
            )
            found += [name for name in names if name[0] == "asyncjobs"]
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("asyncjobs") for alias in node.names), path
    return found


def imports_of(path: Path, root: Path = ROOT) -> set[str]:
    """The layers within `root` that a module of ours imports from."""
    package = ["asyncjobs", *root.relative_to(ROOT).parts]
    depth = len(package)
    return {
        name[depth] if len(name) > depth else "__init__"
        for name in modules_of(path)
        if name[:depth] == package
    }


MODULES = sorted([*ROOT.rglob("*.py"), *TORTURE.glob("*.py")])
WEB = ROOT / "web"
WEB_MODULES = [path for path in MODULES if path.is_relative_to(WEB)]
SQLITE_MODULES = [path for path in MODULES if path.is_relative_to(SQLITE)]


def test_every_module_has_a_layer() -> None:
    """No module is without a place on the map."""
    assert {layer_of(path) for path in MODULES} <= set(RANK)
    assert {layer_of(path, SQLITE) for path in SQLITE_MODULES} <= set(SQLITE_RANK)


def upwards(path: Path, root: Path, rank: dict[str, int]) -> set[str]:
    """The layers within `root` that a module imports from, and should not."""
    layer = layer_of(path, root)
    return {
        name
        for name in imports_of(path, root)
        if name != layer and rank.get(name, len(rank)) >= rank[layer]
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(in_package(path)))
def test_imports_go_downwards(path: Path) -> None:
    """A module imports from its own layer's package and from lower layers only."""
    assert not upwards(path, ROOT, RANK)


@pytest.mark.parametrize("path", SQLITE_MODULES, ids=lambda path: str(path.relative_to(SQLITE)))
def test_imports_within_the_sqlite_store_go_downwards(path: Path) -> None:
    """The same holds within the SQLite store, for its wings and for what stands between them."""
    assert not upwards(path, SQLITE, SQLITE_RANK)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(in_package(path)))
def test_the_stores_have_one_door(path: Path) -> None:
    """Nobody outside the stores knows what one of them is made of, but for who plants its bugs."""
    if layer_of(path) not in {"stores", "torture"}:
        assert not [name for name in modules_of(path) if name[1:2] == ["stores"] and name[2:]]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(in_package(path)))
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


#: What runs jobs, and what is built on that.
RUNNERS = {"running", "engines", "engine", "functions", "jobs", "web"}
#: The demo is a program, and whoever names an app as the place of a store has that imported.
PROGRAMS = {Path("cli/demo.py"), Path("cli/place.py")}
#: `control`, and what is built on it, which sees and steers jobs and runs none.
GUESTS = [
    path
    for path in MODULES
    if layer_of(path) in {"control", "cli", "client", "dashboard"}
    and in_package(path) not in PROGRAMS
]
HOMES: dict[str, str] = vars(asyncjobs)["_HOMES"]


def file_of(name: list[str]) -> Path | None:
    """Where a module of ours is, by the parts of its name, if it is one."""
    path = ROOT.joinpath(*name[1:])
    files = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in files if len(name) > 1 and file.is_file()), None)


def files_imported_by(path: Path) -> set[Path]:
    """The modules of ours that are imported with this one, at once or when a function is called:
    the packages above them included, but for the uppermost, which imports what it is asked for."""
    package = ["asyncjobs", *in_package(path).parent.parts]
    found: set[Path | None] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = package[: len(package) - node.level + 1] if node.level else []
        module = [*base, *(node.module.split(".") if node.module else [])]
        if module[0] != "asyncjobs":
            continue
        for alias in node.names:
            homes = HOMES.get(alias.name, "").split(".")[1:] if len(module) == 1 else [alias.name]
            for name in ([*module, alias.name], [*module, *homes], module):
                found |= {file_of(name[:length]) for length in range(2, len(name) + 1)}
    return {file for file in found if file is not None}


def all_imported_by(path: Path) -> set[Path]:
    """The same, and by those modules, and so on; not by a program, which may run jobs."""
    found, left = set[Path](), files_imported_by(path)
    while left:
        found |= left
        libraries = [file for file in left if in_package(file) not in PROGRAMS]
        left = set[Path]().union(*map(files_imported_by, libraries)) - found
    return found


@pytest.mark.parametrize("path", GUESTS, ids=lambda path: str(in_package(path)))
def test_who_sees_and_steers_runs_nothing(path: Path) -> None:
    """`control`, and what is built on it, imports nothing that runs jobs: neither itself nor by way
    of what it imports, and be it in a function."""
    strange = {in_package(each) for each in all_imported_by(path) if layer_of(each) in RUNNERS}
    assert not strange


@pytest.mark.parametrize(
    ("path", "layer"),
    [
        ("jobs.py", "running"),  # at once
        ("cli/demo.py", "demo"),
        ("demo/app.py", "running"),  # by way of others, and of the package's own names
        ("control.py", "stores"),
    ],
)
def test_what_is_imported_in_all_is_found(path: str, layer: str) -> None:
    """The law above sees what is imported: that of others, and by a name of the package."""
    assert layer in {layer_of(each) for each in all_imported_by(ROOT / path)}


def test_the_map_of_the_web_is_complete() -> None:
    """Nothing in web/ is without a place on its map, and nothing on the map is gone."""
    assert {layer_of(path, WEB) for path in WEB_MODULES} == set(WEB_RANK)


@pytest.mark.parametrize("path", WEB_MODULES, ids=lambda path: str(path.relative_to(WEB)))
def test_imports_within_the_web_go_downwards(path: Path) -> None:
    """A module of web/ imports from its own package, and from those below that."""
    assert not upwards(path, WEB, WEB_RANK)


Node = TypeVar("Node", bound=ast.AST)
BY_NAME = ("getattr", "setattr", "hasattr", "delattr")


def is_private(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.startswith("__")


def private_names_read(tree: ast.Module) -> set[str]:
    """The private names that a module reads or sets on objects, or imports."""
    names: list[object] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names.append(node.attr)
        elif isinstance(node, ast.ImportFrom):
            names += [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", None) in BY_NAME:
            names += [getattr(part, "value", None) for part in ast.walk(node.args[1])]
    return {str(name) for name in names if is_private(name)}


def private_names_of_classes(tree: ast.Module) -> set[str]:
    """The private names that the classes of a module give themselves or their objects."""
    names: list[str] = []
    for cls in [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]:
        for part in cls.body:
            if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
                names.append(part.name)
            elif isinstance(part, ast.Assign | ast.AnnAssign):
                names += [node.id for node in ast.walk(part) if is_set(node, ast.Name)]
        attributes = [node for node in ast.walk(cls) if is_set(node, ast.Attribute)]
        names += [node.attr for node in attributes if getattr(node.value, "id", None) == "self"]
    return set(filter(is_private, names))


def is_set(node: ast.AST, kind: type[Node]) -> TypeGuard[Node]:
    return isinstance(node, kind) and isinstance(getattr(node, "ctx", None), ast.Store)


@pytest.mark.parametrize("path", WEB_MODULES, ids=lambda path: str(path.relative_to(WEB)))
def test_only_quart_side_knows_private_names(path: Path) -> None:
    """A module of web/ reads no private name but those that its own classes have: what Quart,
    werkzeug and hypercorn keep to themselves, `quart_side` alone knows."""
    tree = ast.parse(path.read_text())
    strange = private_names_read(tree) - private_names_of_classes(tree)
    assert bool(strange) == (layer_of(path, WEB) == "quart_side"), strange


@pytest.mark.parametrize("path", WEB_MODULES, ids=lambda path: str(path.relative_to(WEB)))
def test_no_class_shares_a_private_name_with_quart(path: Path) -> None:
    """A class of web/ that is one of Quart's or werkzeug's has none of the private names that they
    use for themselves: `quart_side` alone may take the one for the other."""
    module = import_module(".".join(["asyncjobs", *path.relative_to(ROOT).with_suffix("").parts]))
    foreign = {
        base
        for cls in vars(module).values()
        if inspect.isclass(cls) and cls.__module__ == module.__name__
        for base in cls.__mro__
        if base.__module__.partition(".")[0] in ("quart", "flask", "werkzeug")
    }
    theirs = {
        name
        for base in foreign
        for name in re.findall(r"\bself\.(_[a-z]\w*)", inspect.getsource(base))
    }
    shared = theirs & private_names_of_classes(ast.parse(path.read_text()))
    assert bool(shared) == (layer_of(path, WEB) == "quart_side"), shared
