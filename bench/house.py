"""How large the rooms of the house are: files, functions, classes, constructors, and the arrows
between the parts. A measure and no gate.

`python -m bench.house`, with `--against CHECKOUT` for the figures of another checkout beside ours,
and `--within stores/sqlite` for those of one package. The harnesses are no part of it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import click

#: What is longer, or takes more, is listed.
FILE_LINES = 300
FUNCTION_LINES = 40
PARAMETERS = 6

#: So many of the largest classes are listed.
CLASSES = 5

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Sized(NamedTuple):
    """Something with a size, the largest first."""

    size: int
    name: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.size:>5}  {self.name}{self.note}"


@dataclass(frozen=True)
class Module:
    """A module, by its dotted name below the package that is looked at."""

    name: str
    is_package: bool
    source: str

    @property
    def part(self) -> str:
        """The part of the house that it stands in."""
        return self.name.partition(".")[0]

    @cached_property
    def nodes(self) -> list[tuple[str, ast.AST]]:
        """All that is in it, each with the name of the class, or the module, that it is in."""
        return [*_walk(self.name, ast.parse(self.source))]

    def functions(self) -> Iterator[Sized]:
        for owner, node in self.nodes:
            if isinstance(node, Function):
                yield Sized(_lines(node), f"{owner}.{node.name}")

    def classes(self) -> Iterator[Sized]:
        for owner, node in self.nodes:
            if isinstance(node, ast.ClassDef):
                methods = sum(isinstance(each, Function) for each in node.body)
                yield Sized(_lines(node), f"{owner}.{node.name}", f", {methods} methods")

    def constructors(self) -> Iterator[Sized]:
        """Those that are written out: what a dataclass takes are the fields of a value."""
        for owner, node in self.nodes:
            if isinstance(node, Function) and node.name == "__init__":
                yield Sized(_parameters(node.args), owner)


class House:
    """The modules of a package.

    Args:
        root: the folder of `asyncjobs` in a checkout.
        within: a package in it, or ".".
    """

    def __init__(self, root: Path, within: str) -> None:
        self._prefix = ["asyncjobs", *Path(within).parts]
        folder = root / within
        self.modules = [
            _module(path, folder)
            for path in sorted(folder.rglob("*.py"))
            if "torture" not in path.relative_to(root).with_suffix("").parts
        ]
        self._names = {module.name for module in self.modules}

    def largest(self, kind: Callable[[Module], Iterator[Sized]], over: int = 0) -> list[Sized]:
        sized = (each for module in self.modules for each in kind(module))
        return sorted((each for each in sized if each.size > over), reverse=True)

    def files(self) -> list[Sized]:
        """Those that are too long."""
        lines = (Sized(len(each.source.splitlines()), each.name) for each in self.modules)
        return sorted((each for each in lines if each.size > FILE_LINES), reverse=True)

    def arrows(self) -> set[tuple[str, str]]:
        """Which part imports from which other one."""
        return {
            (module.part, target.partition(".")[0])
            for module in self.modules
            for target in self._imported(module)
            if target.partition(".")[0] != module.part
        }

    def _imported(self, module: Module) -> Iterator[str]:
        """The modules of the house that a module imports, anywhere in it."""
        own = [] if module.name == "__init__" else module.name.split(".")
        package = self._prefix + (own if module.is_package else own[:-1])
        for _, node in module.nodes:
            if isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else []
                path = [*base, *(node.module.split(".") if node.module else [])]
                if path[: len(self._prefix)] == self._prefix:
                    found = ".".join(path[len(self._prefix) :])
                    inner = {f"{found}.{each.name}".lstrip(".") for each in node.names}
                    yield from (inner & self._names) or {found or "__init__"}


def _module(path: Path, folder: Path) -> Module:
    parts = path.relative_to(folder).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if is_package else parts) or "__init__"
    return Module(name, is_package, path.read_text())


def _walk(owner: str, node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        yield owner, child
        inner = f"{owner}.{child.name}" if isinstance(child, ast.ClassDef) else owner
        yield from _walk(inner, child)


def _lines(node: Function | ast.ClassDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _parameters(arguments: ast.arguments) -> int:
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return len(named) - 1 + sum(each is not None for each in (arguments.vararg, arguments.kwarg))


@click.command()
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another checkout, beside which ours is measured.",
)
@click.option("--within", default=".", help="A package of the house, such as stores/sqlite.")
@click.option("--arrows", is_flag=True, help="List which part imports from which.")
def main(against: Path | None, within: str, arrows: bool) -> None:
    """Print how large the parts of the house are."""
    checkouts = {"before": against} if against else {}
    checkouts["after" if against else "now"] = Path(__file__).parents[1]
    houses = [House(path / "src" / "asyncjobs", within) for path in checkouts.values()]
    _figures("", [*checkouts])
    for title, figure in FIGURES.items():
        _figures(title, [figure(house) for house in houses])
    for title, listed in LISTS.items():
        _lists(title, [listed(house) for house in houses])
    if arrows:
        pairs = [sorted(house.arrows()) for house in houses]
        _lists("arrows between the parts", [[" -> ".join(each) for each in one] for one in pairs])


FIGURES: dict[str, Callable[[House], int]] = {
    "modules": lambda house: len(house.modules),
    "packages": lambda house: sum(each.is_package for each in house.modules),
    "lines": lambda house: sum(len(each.source.splitlines()) for each in house.modules),
    f"files over {FILE_LINES} lines": lambda house: len(house.files()),
    "functions": lambda house: len(house.largest(Module.functions)),
    f"functions over {FUNCTION_LINES} lines": lambda house: len(
        house.largest(Module.functions, FUNCTION_LINES)
    ),
    "classes": lambda house: len(house.largest(Module.classes)),
    f"constructors with over {PARAMETERS} parameters": lambda house: len(
        house.largest(Module.constructors, PARAMETERS)
    ),
    "parts": lambda house: len({each.part for each in house.modules}),
    "arrows between the parts": lambda house: len(house.arrows()),
}

LISTS: dict[str, Callable[[House], list[Sized]]] = {
    f"files over {FILE_LINES} lines": House.files,
    f"functions over {FUNCTION_LINES} lines": lambda house: house.largest(
        Module.functions, FUNCTION_LINES
    ),
    "the largest classes, by lines": lambda house: house.largest(Module.classes)[:CLASSES],
    f"constructors with over {PARAMETERS} parameters": lambda house: house.largest(
        Module.constructors, PARAMETERS
    ),
}


def _figures(title: str, figures: Sequence[object]) -> None:
    """Print a line of figures of the same kind."""
    print(f"{title:<40}", *(f"{each!s:>8}" for each in figures))


def _lists(title: str, columns: Sequence[Sequence[object]]) -> None:
    """Print lists of the same kind next to each other."""
    print(f"\n{title}")
    for row in zip_longest(*columns, fillvalue=""):
        print("".join(f"{each!s:<60}" for each in row).rstrip())


if __name__ == "__main__":
    main()
