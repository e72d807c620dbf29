"""What is promised of the list, and of who sees what: plain functions of an answer and of what came
before.

Each is a generator of breaches; its docstring is the sentence that was promised.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from asyncjobs.job import FINAL, State

from .http_asks import Ask, Exchange, Expect
from .http_ledger import Ledger, Life, Walk, entries_of, without_view
from .promises import Breach

#: What every status document has, and what each of these is.
FIELDS: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "state": (str,),
    "route": (str,),
    "attempt": (int,),
    "crashes": (int,),
    "cancel_requested": (bool,),
    "progress": (dict, type(None)),
    "created": (str,),
    "cancel_at": (str, type(None)),
    "started": (str, type(None)),
    "finished": (str, type(None)),
    "reason": (str, type(None)),
    "status": (int, type(None)),
    "links": (dict,),
}
_AN_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


def nothing_of_others(exchange: Exchange, ledger: Ledger) -> Iterator[Breach]:
    """Who is no operator is told of no job of somebody else's: in no list, tag, link or text."""
    ask = exchange.ask
    if ask is None or ask.is_operators:
        return
    said = f"{ask.path} {unquote(ask.path)} {ask.headers} {ask.body!r}".lower()
    twin = ask.twin
    for answer in (exchange.answer, exchange.twin):
        for job_id in set(_AN_ID.findall(answer.text)) if answer is not None else ():
            life = ledger.lives.get(job_id)
            is_echo = job_id in said or (twin is not None and job_id in twin.path)
            if life is not None and life.owner != ask.owner and not is_echo:
                yield job_id, f"{ask.owner} was told of it, and it is {life.owner}'s"


def entries_are_documents(exchange: Exchange, ledger: Ledger) -> Iterator[Breach]:
    """What the list has of a job is its status document, and so is what its own URL tells."""
    for document, is_others in documents_in(exchange):
        job_id = str(document.get("id"))
        for wrong in _wrong_in_form(document):
            yield job_id, wrong
        if ("owner" in document) != is_others:
            yield job_id, f"whose it is, is told: {document.get('owner')}"
        life = ledger.lives.get(job_id)
        if is_others and life is not None and document.get("owner") != life.owner:
            yield job_id, f"it is {life.owner}'s, and not {document.get('owner')}'s"
        before = ledger.ended.get((job_id, str(document.get("finished"))))
        now = without_view(document)
        if before is not None and document.get("state") in FINAL and now != before:
            yield job_id, f"it was {before}, and is {now}"


def _wrong_in_form(document: dict[str, Any]) -> Iterator[str]:
    for name, types in FIELDS.items():
        if name not in document or not isinstance(document[name], types):
            yield f"its {name} is {document.get(name)!r}"
    status = f"/jobs/{document.get('id')}"
    if document.get("links") != {"self": status, "result": f"{status}/result"}:
        yield f"its links are {document.get('links')}"
    if document.get("state") not in [*State]:
        yield f"its state is {document.get('state')}"
    if more := document.keys() - FIELDS.keys() - {"owner", "ahead"}:
        yield f"it has {more}"


def documents_in(exchange: Exchange) -> Iterator[tuple[dict[str, Any], bool]]:
    """Each status document in an answer, and whether it is to tell whose the job is: a list does so
    to operators, and a status where the job is not their own."""
    ask, answer = exchange.ask, exchange.answer
    if ask is None or answer is None or answer.status != 200 or ask.method == "HEAD":
        return
    if ask.expect is Expect.PAGE:
        document = answer.json()
        jobs = document.get("jobs") if isinstance(document, dict) else None
        for entry in jobs if isinstance(jobs, list) else ():
            yield entry if isinstance(entry, dict) else {}, ask.is_operators
    elif ask.job is not None and ask.expect in (Expect.OWN, Expect.RETRIED):
        is_status = ask.path == f"/jobs/{ask.job.id}"
        document = answer.json()
        if (is_status or ask.steers is not None) and isinstance(document, dict):
            yield document, ask.is_operators and ask.owner != ask.job.owner


def guarded_jobs_are_in_no_list(exchange: Exchange, ledger: Ledger) -> Iterator[Breach]:
    """Whom a guard refuses the URLs of a job sees it in no list."""
    for entry in entries_of(exchange):
        guard = _guard_of(ledger.lives.get(entry["id"]))
        if exchange.ask is not None and guard not in (None, exchange.ask.key):
            yield entry["id"], f"its guard wants {guard}"


def pages_are_as_asked(exchange: Exchange, ledger: Ledger) -> Iterator[Breach]:
    """A page has such jobs alone as are asked for, no more than that, the newest first; and the
    next one is asked for in the same way."""
    ask, answer = exchange.ask, exchange.answer
    if ask is None or answer is None or ask.expect is not Expect.PAGE or answer.status != 200:
        return
    document, asked = answer.json(), parse_qsl(urlsplit(ask.path).query)
    entries, said = entries_of(exchange), dict(asked)
    states = {value for name, value in asked if name == "state"}
    routes = {value for name, value in asked if name == "route"}
    for entry in entries:
        made = datetime.fromisoformat(entry["created"])
        if not (
            (not states or entry["state"] in states)
            and (not routes or entry["route"] in routes)
            and ("since" not in said or made >= _at(said["since"]))
            and ("before" not in said or made <= _at(said["before"]))
            and ("owner" not in said or entry["owner"] == said["owner"])
        ):
            yield entry["id"], f"that is none of what was asked for: {entry}"
    if len(entries) > int(said.get("limit", 50)):
        yield "", f"these are {len(entries)}"
    if any(newer["created"] < older["created"] for newer, older in pairwise(entries)):
        yield "", "that is not the order in which they were made"
    if answer.header("cache-control") != "no-store":
        yield "", "a cache may keep it"
    yield from _wrong_in_next(answer.all("link"), document, asked)


def _wrong_in_next(
    links: list[str], document: Any, asked: list[tuple[str, str]]
) -> Iterator[Breach]:
    url = document.get("next") if isinstance(document, dict) else ""
    if links != ([] if url is None else [f'<{url}>; rel="next"']):
        yield "", f"the next page is {url}, and its link {links}"
    if url is None:
        return
    there = parse_qsl(urlsplit(url).query)
    if not url.startswith("/jobs?") or _filters(there) != _filters(asked):
        yield "", f"that asks for something else: {url}"


def no_list_is_nothing(exchange: Exchange, ledger: Ledger) -> Iterator[Breach]:
    """Who has no list is answered as who asks for a job that never was, to the byte."""
    ask, answer, twin = exchange.ask, exchange.answer, exchange.twin
    if ask is None or ask.expect is not Expect.NO_LIST:
        return
    if answer is None or twin is None or answer.of_its_own() != twin.of_its_own():
        yield "", f"who asks for no job is answered {twin}"


def walks_are_whole(exchange: Exchange, ledger: Ledger) -> Iterator[Breach]:
    """Who goes on until there is no next page sees each job once that was there before, whatever
    is made meanwhile."""
    ask, answer = exchange.ask, exchange.answer
    if ask is None or answer is None or ask.walk is None or answer.status != 200:
        return
    walk, entries = ledger.walk(ask.walk, exchange), entries_of(exchange)
    for entry in entries:
        if entry["id"] in walk.ids:
            yield entry["id"], "it was there before, on this walk"
    document = answer.json()
    if not isinstance(document, dict) or document.get("next") is not None:
        return
    seen = {*walk.ids, *(entry["id"] for entry in entries)}
    for job_id, life in ledger.lives.items():
        if job_id not in seen and _was_listed(life, ask, walk):
            yield job_id, "it was not there, on this walk"


def _was_listed(life: Life, ask: Ask, walk: Walk) -> bool:
    """Whether the job is one that this walk has to come by: it was there before, is for who asks,
    and is of the route, and in the final state, that are asked for alone."""
    said = dict(parse_qsl(urlsplit(ask.path).query))
    return (
        life.since < walk.sent
        and (ask.is_operators or life.owner == ask.owner)
        and _guard_of(life) in (None, ask.key)
        and life.job is not None
        and said.get("route") in (None, life.job.path.lstrip("/"))
        and ("state" not in said or life.was_before(walk.sent, said["state"]))
    )


def _guard_of(life: Life | None) -> str | None:
    return None if life is None or life.job is None else life.job.guard


def _at(written: str) -> datetime:
    return datetime.fromisoformat(written.replace(" ", "+"))


def _filters(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted(pair for pair in pairs if pair[0] != "cursor")


OF_LISTS = (
    nothing_of_others,
    entries_are_documents,
    guarded_jobs_are_in_no_list,
    pages_are_as_asked,
    no_list_is_nothing,
    walks_are_whole,
)
