"""The problems that an answer may be, as the library's errors have them."""

from __future__ import annotations

from collections.abc import Iterator

from asyncjobs.errors import AsyncJobsError, SetupError
from asyncjobs.problem import CONTENT_TYPE

from .http_asks import Answer

PROBLEM = "urn:asyncjobs:problem:"


def problem_of(answer: Answer) -> str | None:
    """The name of the problem that the answer is."""
    document = answer.json()
    if answer.header("content-type") != CONTENT_TYPE or not isinstance(document, dict):
        return None
    return str(document.get("type")).removeprefix(PROBLEM)


def is_documented(answer: Answer) -> bool:
    """Whether it is a problem that `errors` knows, with its status."""
    return (problem_of(answer), answer.status) in _PROBLEMS


def _all_errors(error: type[AsyncJobsError]) -> Iterator[type[AsyncJobsError]]:
    for each in error.__subclasses__():
        if each is not SetupError:
            yield each
            yield from _all_errors(each)


_PROBLEMS = frozenset((error.name, error.status) for error in _all_errors(AsyncJobsError))
