"""What is in a stream of events: plain functions from the bytes that have come so far.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from asyncjobs.job import FINAL

from .http_asks import Answer

CONTENT_TYPE = "text/event-stream"
_END_OF_LINE = re.compile(rb"\r\n|\n|\r")


class Block(NamedTuple):
    """What stands between two empty lines of a stream: an event, or words beside the events.

    Attributes:
        fields: each with its name; a comment is one without.
    """

    fields: tuple[tuple[str, str], ...]

    @property
    def is_event(self) -> bool:
        """Whether a browser would tell its page of it."""
        return any(name == "data" for name, _ in self.fields)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.fields]

    def value(self, name: str) -> str | None:
        """That of the last field of this name, which is the one that counts."""
        return dict(self.fields).get(name)

    @property
    def version(self) -> int | None:
        """What its id says, if that is a number."""
        said = self.value("id") or ""
        return int(said) if said.isascii() and said.isdigit() else None

    @property
    def document(self) -> dict[str, Any] | None:
        """What its data says, if that is an object of JSON."""
        data = "\n".join(value for name, value in self.fields if name == "data")
        try:
            document = json.loads(data)
        except ValueError:
            return None
        return document if isinstance(document, dict) else None

    @property
    def is_final(self) -> bool:
        """Whether it tells that the job is at its end."""
        document = self.document
        return document is not None and document.get("state") in FINAL


def is_stream(answer: Answer) -> bool:
    """Whether what has been answered is one."""
    said = answer.header("content-type") or ""
    return answer.status == 200 and said.partition(";")[0].strip() == CONTENT_TYPE


def blocks_of(body: bytes) -> Iterator[Block]:
    """All that are there in full; what is behind the last empty line is none yet."""
    fields: list[tuple[str, str]] = []
    for line in _END_OF_LINE.split(body)[:-1]:
        if line:
            name, _, value = line.decode(errors="replace").partition(":")
            fields.append((name, value.removeprefix(" ")))
        elif fields:
            yield Block(tuple(fields))
            fields = []


def events_of(body: bytes) -> list[Block]:
    """Those of which a page would be told."""
    return [block for block in blocks_of(body) if block.is_event]


def unchunked(raw: bytes) -> tuple[bytes, bool]:
    """The part of a chunked body that has come so far, and whether that is all of it.

    Raises:
        ValueError: it is none.
    """
    body = b""
    while (line := raw.partition(b"\r\n"))[1]:
        size, rest = int(line[0], 16), line[2]
        if size == 0:
            return body, True
        body, raw = body + rest[:size], rest[size + 2 :]
    return body, False
