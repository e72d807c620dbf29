"""What is wrong with the answer to who asks rightly, or is to be refused: by what is expected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from .http_asks import Answer, Ask, Expect
from .http_problems import is_documented, problem_of
from .http_results import wrong_in_own, wrong_in_submission


def _wrong_in_keyed(ask: Ask, answer: Answer) -> Iterator[str]:
    if problem_of(answer) != "idempotency-key-reused":
        yield from wrong_in_submission(ask, answer)
    elif answer.status != 422:
        yield "that is not unprocessable"


def _wrong_in_retried(ask: Ask, answer: Answer) -> Iterator[str]:
    assert ask.job is not None
    if problem_of(answer) != "invalid-transition":
        # What is told of it is its status, wherever that was asked for.
        there = replace(ask, path=f"/jobs/{ask.job.id}", method="GET")
        yield from wrong_in_own(there, ask.job, answer)
    elif answer.status != 409:
        yield "that is no conflict"


def _wrong_in_page(ask: Ask, answer: Answer) -> Iterator[str]:
    document = answer.json()
    if answer.status != 200 or not isinstance(document, dict):
        yield "that is no page"
    elif document.keys() != {"jobs", "next"} or not isinstance(document["jobs"], list):
        yield "a page has jobs, and where the next one is"


def _wrong_in_no_list(ask: Ask, answer: Answer) -> Iterator[str]:
    if answer.status != (404 if ask.operator is None else 401):
        yield "there is no list for who is nobody in particular"


def _wrong_in_refusal(ask: Ask, answer: Answer) -> Iterator[str]:
    name, word = ask.refusal
    document = answer.json()
    if problem_of(answer) != name or not is_documented(answer):
        yield f"that is no {name}"
    elif word not in str(document.get("detail")):
        yield f"that does not say anything of {word}"


#: Of what comes on top of submissions and polls.
WRONG: dict[Expect, Callable[[Ask, Answer], Iterator[str]]] = {
    Expect.KEYED: _wrong_in_keyed,
    Expect.QUEUED: wrong_in_submission,
    Expect.RETRIED: _wrong_in_retried,
    Expect.PAGE: _wrong_in_page,
    Expect.NO_LIST: _wrong_in_no_list,
    Expect.REFUSED: _wrong_in_refusal,
}
