"""Makes api.md and stores.md, next to this file, from signatures and docstrings.

``make docs`` runs it; a test fails as long as the pages are not what it makes.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, ForwardRef, NamedTuple, get_args, get_overloads

import asyncjobs
from asyncjobs import AsyncJobsError, JobCancelled, RouteSettings, Settings, errors, events

FOLDER = Path(__file__).parent


class Page(NamedTuple):
    """A page: its sections and the names in each, then those that are public in other modules."""

    introduction: str
    sections: dict[str, list[str]]
    modules: dict[str, list[str]]


API = """\
# The API

All names here are importable from `asyncjobs`, unless another module is named. What is neither here
nor [for who writes a store](stores.md) may change with any release. The page is made from the
docstrings, by `make docs`.
"""
STORES = """\
# Stores of your own

For who writes one; all others [name it](settings.md) by its URL. The page is made from the
docstrings, by `make docs`.
"""

EVENTS = [kind.__name__ for kind in get_args(events.Event)]

#: `tests/test_api.py` finds a name that is missing.
SECTIONS = {
    "In a Quart app": ["QuartJobs"],
    "In a handler": ["current_job", "RunningJob"],
    "In any asyncio program": [
        *("Jobs", "Query", "Listing", "Page", "Cursor", "ANYONE", "Health", "ThreadsInUse")
    ],
    "Settings": ["Settings", "RouteSettings"],
    "Jobs, requests and responses": ["Job", "State", "Progress", "Request", "Response"],
    "Errors": [name for name in vars(errors) if name in asyncjobs.__all__],
    "Stores": ["SqliteStore", "MemoryStore"],
}
PAGES = {
    "api": Page(
        API,
        SECTIONS,
        {
            "asyncjobs.control": ["open", "Control"],
            "asyncjobs.events": ["Events", *EVENTS],
            "asyncjobs.web.auth": ["user", "restore_user"],
        },
    ),
    "stores": Page(
        STORES,
        {"What it is asked": ["Store"], "What it tells": ["Liveness", "Orphan", "Presence"]},
        {
            "asyncjobs.key": ["Key"],
            "asyncjobs.hints": ["Changed", "Queued", "Overruled", "Something", "Hints", "hints_of"],
            "asyncjobs.testing": ["FakeClock", "a_job", "StoreContract"],
        },
    ),
}

#: For the other modules of the library alone, although they are called without an underscore.
INTERNAL = {
    "Jobs": {
        *("abandon", "accept", "begin", "end_waits", "open", "register", "request", "response"),
        *("follow", "now", "until_final"),
    },
    "Control": {"follow", "until_final"},
    "Events": {"emit"},
    "RunningJob": {"end", "has_to_stop", "stop_waits", "stopping", "waiting"},
    "Job": set(vars(asyncjobs.Job)),
    "Query": {"matches", "cut"},
    "Listing": {"matches"},
    "State": {"is_final"},
    "StoreContract": set(vars(importlib.import_module("asyncjobs.testing").StoreContract)),
}

#: Classes of which users get objects, or subclasses, and make none.
NEVER_MADE = {"RunningJob", "StoreContract", "Job", "Control", *EVENTS}

#: The sections of a docstring, whose items are lists on the page.
_HEADINGS = ("Args:", "Attributes:", "For stores and engines:", "Raises:")


def text_of(page: Page) -> str:
    """The whole page."""
    body = "\n".join(_sections(page))
    return "\n".join([page.introduction, *_contents(body), "", body])


def _contents(body: str) -> Iterator[str]:
    """A line for each section, and for each name in it with the methods that it has."""
    line = ""
    seen: Counter[str] = Counter()
    for marks, title in re.findall(r"^(##+) (.*)$", body, re.MULTILINE):
        anchor = re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
        number = f"-{seen[anchor]}" if seen[anchor] else ""
        seen[anchor] += 1
        if len(marks) < 4:
            yield from filter(None, [line])
            line = f"{'  ' * (len(marks) - 2)}* [{title}](#{anchor}{number})"
        else:
            name = title.strip("`").partition(".")[2]
            line += f"{',' if '): ' in line else ':'} [`{name}`](#{anchor}{number})"
    yield line


def _sections(page: Page) -> Iterator[str]:
    for title, names in page.sections.items():
        yield f"## {title}\n"
        if title == "Errors":
            yield from _errors()
            continue
        for name in names:
            yield from _entry(asyncjobs, name)
    for path, names in page.modules.items():
        module = importlib.import_module(path)
        yield f"## `{path}`\n\n{markdown(inspect.getdoc(module) or '')}\n"
        for name in names:
            yield from _entry(module, name)


def _entry(module: Any, name: str) -> Iterator[str]:
    thing = getattr(module, name)
    yield f"### `{name}`\n"
    if thing in (Settings, RouteSettings):
        yield f"{markdown(inspect.getdoc(thing) or '')}\n"
        yield from _settings(thing)
    elif inspect.isclass(thing):
        yield from _class(name, thing)
    elif inspect.isfunction(thing):
        yield f"{_code(_signatures(thing, name))}\n\n{markdown(inspect.getdoc(thing) or '')}\n"
    else:
        yield f"{comment_above(name)}\n"


def _class(name: str, kind: type) -> Iterator[str]:
    if issubclass(kind, enum.Enum):
        members = ", ".join(f"`{member.name}` (`{member.value!r}`)" for member in kind)
        yield f"{markdown(inspect.getdoc(kind) or '')}\n\nIts members: {members}.\n"
    else:
        is_made = not inspect.isabstract(kind) and name not in NEVER_MADE
        code = f"{_code(_signatures(kind, name))}\n\n" if is_made else ""
        yield f"{code}{markdown(inspect.getdoc(kind) or '', with_arguments=is_made)}\n"
    for member, value in members_of(name, kind):
        yield f"#### `{name}.{member}`\n"
        if isinstance(value, property):
            annotation = inspect.signature(value.fget or members_of).return_annotation
            code = _code([f"{member}: {annotation}"])
        else:
            code = _code(_signatures(value, member))
        yield f"{code}\n\n{markdown(inspect.getdoc(value) or '')}\n"


def members_of(name: str, kind: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that a class has of its own, with what they say."""
    for member, value in vars(kind).items():
        is_own = inspect.isfunction(value) or isinstance(value, property)
        if not is_own or member.startswith("_") or member in INTERNAL.get(name, ()):
            continue
        # One that only fulfils what its base class says has no docstring of its own.
        if value.__doc__ or not any(hasattr(base, member) for base in kind.__mro__[1:]):
            yield member, value


def _settings(kind: type) -> Iterator[str]:
    if kind is Settings:
        yield "[The table of settings](settings.md) has them all.\n"
        return
    yield "| option | default | meaning |\n|---|---|---|"
    for each in fields(kind):  # type: ignore[arg-type] # a dataclass
        default = "as in `Settings`" if each.name in ("timeout", "ttl") else f"`{each.default!r}`"
        yield f"| `{each.name}` | {default} | {each.metadata['meaning']} |"
    yield ""


def _errors() -> Iterator[str]:
    summary, _, tree, rest = (inspect.getdoc(errors) or "").split("\n\n", 3)
    yield f"{summary}\n\n```text\n{inspect.cleandoc(tree)}\n```\n\n{markdown(rest)}\n"
    yield f"### `AsyncJobsError`\n\n{markdown(inspect.getdoc(AsyncJobsError) or '')}\n"
    yield f"### `JobCancelled`\n\n{markdown(inspect.getdoc(JobCancelled) or '')}\n"


def comment_above(name: str) -> str:
    """What the comment says above a name that is neither a class nor a function."""
    for path in sorted(Path(asyncjobs.__file__).parent.rglob("*.py")):
        found = re.search(rf"^((?:#: .*\n)+){name}\b", path.read_text(), re.MULTILINE)
        if found:
            return found[1].replace("#: ", "").strip()
    raise LookupError(f"nothing is said above {name}: write a comment that begins with '#:'")


def _signatures(function: Callable[..., Any], name: str) -> list[str]:
    """How it is called: each of its overloads, or itself."""
    return [_signature(each, name) for each in get_overloads(function) or [function]]


def _signature(function: Callable[..., Any], name: str) -> str:
    signature = inspect.signature(function)
    parts, star = [], False
    parameters = [each for each in signature.parameters.values() if each.name != "self"]
    for index, each in enumerate(parameters):
        if each.kind is each.KEYWORD_ONLY and not star:
            parts.append("*")
        star = star or each.kind in (each.KEYWORD_ONLY, each.VAR_POSITIONAL)
        parts.append(_parameter(each))
        is_last = index + 1 == len(parameters) or parameters[index + 1].kind is not each.kind
        if each.kind is each.POSITIONAL_ONLY and is_last:
            parts.append("/")
    awaited = "await " if inspect.iscoroutinefunction(function) else ""
    has_result = (
        not inspect.isclass(function) and signature.return_annotation is not signature.empty
    )
    result = f" -> {_annotation(signature.return_annotation)}" if has_result else ""
    line = f"{awaited}{name}({', '.join(parts)}){result}"
    if len(line) <= 100:
        return line
    return "\n".join([f"{awaited}{name}(", *(f"    {part}," for part in parts), f"){result}"])


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    text = f"{stars}{parameter.name}"
    annotation = _annotation(parameter.annotation)
    if parameter.annotation is not parameter.empty and not annotation.startswith("Unpack["):
        text += f": {annotation}"
    if parameter.default is parameter.empty:
        return text
    default = repr(parameter.default)
    # An object, whose text would be another one in each process.
    return f"{text} = {'...' if default.startswith('<') else default}"


def _annotation(annotation: Any) -> str:
    if isinstance(annotation, ForwardRef):
        return annotation.__forward_arg__
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _code(lines: list[str]) -> str:
    return "\n".join(["```python", *lines, "```"])


def markdown(docstring: str, *, with_arguments: bool = True) -> str:
    """A docstring as Markdown: its sections become lists, its examples code."""
    paragraphs = []
    for block in _blocks(docstring):
        heading, _, rest = block.partition("\n")
        if block.startswith("    "):
            paragraphs.append(_code([inspect.cleandoc(f"\n{block}")]))
        elif heading in _HEADINGS:
            if with_arguments or heading != "Args:":
                paragraphs.append(f"{heading}\n\n{_items(rest)}".replace("``", "`"))
        elif block != "::":
            paragraphs.append(re.sub("::$", ":", block).replace("``", "`"))
    return "\n\n".join(paragraphs)


def _blocks(docstring: str) -> Iterator[str]:
    """Its paragraphs; an example is one, with its empty lines."""
    example: list[str] = []
    for block in docstring.split("\n\n"):
        if block.startswith("    "):
            example.append(block)
            continue
        if example:
            yield "\n\n".join(example)
            example = []
        yield block
    if example:
        yield "\n\n".join(example)


def _items(text: str) -> str:
    """The lines of a section, where an item begins at the margin."""
    items = re.sub(r"\n +", " ", re.sub(r"^    (?=\S)", "* ", text, flags=re.MULTILINE))
    return re.sub(r"^\* ([\w, ]+)(:|$)", _named, items, flags=re.MULTILINE)


def _named(match: re.Match[str]) -> str:
    names = ", ".join(f"`{name}`" for name in match[1].split(", "))
    return f"* {names}{match[2]}"


if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / f"{name}.md").write_text(text_of(page))
