"""What is known of a job before it is asked for: what its handler answers, and how that is told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from werkzeug.utils import redirect

from asyncjobs.job import FINAL, State
from asyncjobs.problem import CONTENT_TYPE

from .http_asks import ENDLESS, MARK, ONCE, PREFERS, Answer, Ask, Expect, Known, mark_of

NOT_YET = ("queued", "running")
#: What is asked rightly, and becomes a job unless that is refused.
MAKING = (Expect.ACCEPTED, Expect.KEYED, Expect.QUEUED)


class Result(NamedTuple):
    """What a handler answers.

    Attributes:
        said: the values of those of its headers that are the handler's own to say.
    """

    status: int
    body: bytes
    said: dict[str, str]


#: Says of an answer that its job is that of an earlier request.
REPLAYED = "idempotent-replayed"
# What is said of the preferences that were obeyed.
_APPLIED = re.compile(r"(respond-async, )?wait=\d+|respond-async")


def result_of(job: Known) -> Result | None:
    """What the handler of `job` answers; None if it doesn't, or if nobody can tell."""
    if job.body is None or job.fails or job.path == ENDLESS:
        return None
    mark = mark_of(job.owner)
    said = {MARK.lower(): mark}
    match job.path.split("/")[1:]:
        case ["things", name]:
            private = ", private" if job.owner is not None else ""
            said |= {"etag": '"own"', "cache-control": f"max-age=60{private}", "x-name": name}
            return Result(200, f"{mark} b''".encode(), said)
        case ["slow"] | [_, "rooms", _]:
            return Result(200, f"{mark} 0 1 2 3 4".encode(), said)
        case ["missing"]:
            return Result(404, mark.encode(), said)
        case ["moved"]:
            return Result(302, redirect("done").get_data(), {**said, "location": "/done"})
        case ["file"]:
            return Result(200, mark.encode(), {})
        case [*folders, _]:
            document = json.dumps({"mark": mark, "size": len(job.body)}, separators=(",", ":"))
            made = "/".join(["", *folders, "made"])
            return Result(201, f"{document}\n".encode(), {**said, "location": made})
    return None


def told_of(ask: Ask, answer: Answer) -> Known | None:
    """The job that the answer to a request which is about no job tells of, if it does."""
    if ask.job is not None or answer.header("job-state") is None:
        return None
    document = answer.json()
    is_accepted = answer.status == 202 and isinstance(document, dict) and "TaskId" in document
    where = answer.header("location" if is_accepted else "content-location") or ""
    path, _, job_id = where.rpartition("/")
    if not path:
        return None
    # Of a key of the route, it may be made of another request than this one.
    may_be_others = ask.path == ONCE and answer.header(REPLAYED) is not None
    body = ask.body if ask.expect in MAKING and not may_be_others else None
    told = None if is_accepted else answer
    return Known(job_id, ask.owner, ask.method, path, body, told, patience_of(ask))


def patience_of(ask: Ask) -> float | None:
    """The seconds that a request gives its job; 0 if nobody can tell, None for all it needs."""
    said = ask.said("cancel-after")
    try:
        return float(said[0]) if said else None
    except ValueError:
        return 0.0


def wrong_in_submission(ask: Ask, answer: Answer) -> Iterator[str]:
    """What is wrong with the answer to a request that is to be a job."""
    applied = answer.header("preference-applied")
    if applied is not None and not (ask.prefers and _APPLIED.fullmatch(applied)):
        yield "it does not tell which preference was obeyed"
    if answer.header("job-state") in FINAL and not _is_of_repeat(answer):
        yield from _wrong_in_result_at_once(ask, answer)
    else:
        yield from _wrong_in_accepted(ask, answer)


def _is_of_repeat(answer: Answer) -> bool:
    """Whether it is a 202 that tells of a job which may have come to its end since it was made, as
    nobody has waited for that."""
    document = answer.json()
    return (
        (answer.status, answer.header(REPLAYED)) == (202, "true")
        and isinstance(document, dict)
        and "TaskId" in document
        and "wait" not in (answer.header("preference-applied") or "")
    )


def _wrong_in_result_at_once(ask: Ask, answer: Answer) -> Iterator[str]:
    job = told_of(ask, answer)
    if answer.header("preference-applied") is None and ask.path != PREFERS:
        yield "nobody has waited for a result"
    if job is None or job.path != ask.path.partition("?")[0]:
        yield f"its result is not at {ask.path}/"
    else:
        yield from wrong_in_own(ask, job, answer)


def _wrong_in_accepted(ask: Ask, answer: Answer) -> Iterator[str]:
    document = answer.json()
    job_id = document.get("TaskId") if isinstance(document, dict) else None
    if answer.status != 202 or job_id is None:
        yield "it tells of no job"
    place = f"{ask.path.partition('?')[0]}/{job_id}"
    if answer.header("location") != place:
        yield f"its result is not at {place}"
    yield from _wrong_in_headers(f"/jobs/{job_id}", answer)


def wrong_in_own(ask: Ask, job: Known, answer: Answer) -> Iterator[str]:
    """What is wrong with what the owner of a job is told of it."""
    status = f"/jobs/{job.id}"
    yield from _wrong_in_headers(status, answer)
    state = answer.header("job-state")
    if answer.status == 304:
        yield from _wrong_in_not_modified(ask, answer)
    elif ask.method == "DELETE" or ask.path == status:
        if ask.method != "HEAD" and not _is_status(answer, job):
            yield "that is not its status"
    elif state in NOT_YET or answer.status == 202:
        if not _is_pending(ask, job, answer):
            yield "that does not tell that it is not at its end"
    elif state == State.SUCCEEDED:
        yield from _wrong_in_result(ask, job, answer)
    elif state == State.FAILED:
        if answer.status != 500 or not (job.fails or job.body is None):
            yield "its handler has not failed"
    elif answer.header("content-type") != CONTENT_TYPE:
        yield f"that is no problem, but the job is {state}"


def _wrong_in_not_modified(ask: Ask, answer: Answer) -> Iterator[str]:
    if ask.method not in ("GET", "HEAD") or not ask.said("if-none-match"):
        yield "nobody has said that he has it"
    for name in ("etag", "cache-control"):
        if answer.header(name) is None:
            yield f"a 304 has the {name} of the answer in whose place it is"
    if answer.body or answer.header("content-type") is not None:
        yield "a 304 has no body"


def _is_status(answer: Answer, job: Known) -> bool:
    document = answer.json()
    links = {"self": f"/jobs/{job.id}", "result": f"/jobs/{job.id}/result"}
    told = {"id": job.id, "state": answer.header("job-state"), "links": links}
    return (
        answer.status == 200
        and isinstance(document, dict)
        and {name: document.get(name) for name in told} == told
    )


def _is_pending(ask: Ask, job: Known, answer: Answer) -> bool:
    has_body = ask.method == "HEAD" or answer.json() == {"TaskID": job.id}
    is_so = answer.status == 202 and answer.header("job-state") in NOT_YET
    return is_so and has_body and answer.header("location") is None


def _wrong_in_headers(status: str, answer: Answer) -> Iterator[str]:
    if f'<{status}>; rel="status"' not in answer.all("link"):
        yield f"its status is not told at {status}"
    if len(states := answer.all("job-state")) != 1 or states[0] not in [*State]:
        yield f"its state is {states}"
    if answer.status == 202 and answer.header("retry-after") is None:
        yield "nothing tells when to ask again"


def _wrong_in_result(ask: Ask, job: Known, answer: Answer) -> Iterator[str]:
    result = result_of(job)
    if result is None:
        return
    said = result.said
    if ask.job is None:  # who asks there again wants another job
        said = {**said, "cache-control": "no-store"}
    if answer.status != result.status:
        yield f"its status is not {result.status}"
    if ask.method != "HEAD" and answer.body != result.body:
        yield f"its body is not {result.body!r}"
    if answer.header("content-length") not in (None, str(len(result.body))):
        yield f"it does not have {len(result.body)} bytes"
    for name in {"location", "retry-after", *said}:
        wanted = [said[name]] if name in said else []
        if answer.all(name) != wanted:
            yield f"its {name} is not {wanted}"
