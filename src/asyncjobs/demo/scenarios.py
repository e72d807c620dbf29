"""What the demo asks of its server, and what the answers must be."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from werkzeug.http import parse_options_header

from asyncjobs import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One job: the request that makes it, and what must become of it.

    Attributes:
        expected: what `read` must find in the result.
    """

    name: str
    method: str = "GET"
    path: str
    query: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    state: State = State.SUCCEEDED
    status: int = 200
    expected: object
    read: Callable[[httpx.Response], object] = httpx.Response.json

    def check(self, result: httpx.Response) -> list[str]:
        """What is wrong with the result; nothing if it is as expected."""
        facts = (
            ("HTTP status", result.status_code, self.status),
            ("Job-State", result.headers.get("Job-State"), self.state.value),
            ("result", self._read(result), self.expected),
        )
        return [
            f"{fact} is {_brief(seen)}, expected {_brief(expected)}"
            for fact, seen, expected in facts
            if seen != expected
        ]

    def _read(self, result: httpx.Response) -> object:
        try:
            return self.read(result)
        except Exception:  # whatever is wrong with it, it is told best by showing it
            return result.content


def scenarios(text: Path) -> list[Scenario]:
    """The jobs of the demo. Two of them are given `text`, a file."""
    content = text.read_bytes()
    return [
        Scenario(
            name="example",
            path="/foo",
            expected={"Result": True},
        ),
        Scenario(
            name="sync",
            method="POST",
            path="/words",
            content=content,
            expected={"words": len(content.split())},
        ),
        Scenario(
            name="async",
            path="/report",
            expected={"steps": 5},
        ),
        Scenario(
            name="failure",
            path="/unlucky",
            state=State.FAILED,
            status=500,
            expected={"error": "bad luck"},
        ),
        Scenario(
            name="upload",
            method="POST",
            path="/gzip",
            query={"name": text.name},
            content=content,
            expected=(f"{text.name}.gz", content),
            read=lambda result: (attachment(result), gzip.decompress(result.content)),
        ),
    ]


def example_text() -> Path:
    """A real text: the README if this is a checkout, else a module of this package."""
    package = Path(__file__).parents[1]
    readme = package.parents[1] / "README.md"
    return readme if readme.is_file() and readme.stat().st_size else package / "jobs.py"


def attachment(result: httpx.Response) -> str | None:
    """The name of the file that the result is, if it is one."""
    _, options = parse_options_header(result.headers.get("Content-Disposition"))
    return options.get("filename")


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
