"""What schemathesis is told of our apps: who calls, which jobs there are, and what must never be.

It loads this by itself (``SCHEMATHESIS_HOOKS``), in a process of its own.
"""

from __future__ import annotations

import atexit
import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import schemathesis
from jsonschema import Draft202012Validator
from schemathesis.generation.meta import TestPhase

_CONTRACT = Path(__file__).parent.parent / "docs" / "http.md"
#: The table of problems: each type, with its status.
_PROBLEMS = {
    f"urn:asyncjobs:problem:{name}": int(status)
    for name, status in re.findall(r"(?m)^\| `([a-z-]+)` \| (\d{3}) \|", _CONTRACT.read_text())
}
_USER, _OPERATOR = "X-User", "X-Operator"
_CALLERS: list[dict[str, str]] = [
    *[{_USER: "ada"}] * 5,
    *[{_USER: "bob"}] * 3,
    {_OPERATOR: "view"},
    {_OPERATOR: "steer"},
    {},
]
#: So many of the last jobs are asked for, as older ones are final.
_RECENT = 12
_STATUS, _LIST, _RAISES = "/jobs/{job_id}", "/jobs", "/fails"
#: Than any version of a job: its watcher has seen the end of it, if it is final.
_NO_OLDER = "1000000"
_IDS = ("asyncjobs_id", "job_id")
_OF_JOB = re.compile(r'</jobs/([0-9a-f]{32})>; rel="status"')


class _Job(NamedTuple):
    id: str
    owner: str | None
    path: str
    variables: Mapping[str, Any]


_random = Random(os.environ["SCHEMATHESIS_SEED"])
_jobs: dict[str, _Job] = {}
_tags: dict[str, str] = {}
_cursors: list[str] = []
_seen: Counter[str] = Counter()


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: Any) -> None:
    """Say of bodies that they must be there, which quart-schema leaves out."""
    for item in raw_schema["paths"].values():
        for operation in item.values():
            operation.get("requestBody", {})["required"] = True


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Somebody calls: mostly about a job that there is, and mostly its owner."""
    caller = _random.choice(_CALLERS)
    if case.meta is None or not case.meta.generation.mode.is_negative:
        job = _make_real(case)
        # A chain of links is one client's.
        if job is not None and (_is_chain(case) or _random.random() < 0.7):
            caller = {_USER: job.owner} if job.owner else {}
        if "owner" in (case.query or {}):  # which others have not
            caller = {_OPERATOR: "view"}
    case.headers.update(caller)
    if case.method in ("DELETE", "POST") and _random.random() < 0.05:
        case.headers["Origin"] = "http://elsewhere.example"
    if (case.operation.path, case.method) == (_STATUS, "GET") and _random.random() < 0.2:
        case.headers["Accept"] = "text/event-stream"
        if _random.random() < 0.4:
            case.headers["Last-Event-ID"] = _NO_OLDER


def _make_real(case: Any) -> _Job | None:
    """Have a request that is none of the wrong ones be about a job, a page or a tag that is there:
    none of these can be made up."""
    if "cursor" in (case.query or {}):
        del case.query["cursor"]
        if _cursors:
            case.query["cursor"] = _random.choice(_cursors)
    variables = case.path_parameters or {}
    name = next((name for name in _IDS if name in variables), None)
    if name is None:
        return None
    submission = case.operation.path.partition(f"/{{{name}}}")[0]
    known = [job for job in _jobs.values() if name == "job_id" or job.path == submission]
    job = _jobs.get(str(variables[name]))
    if job is None and known:
        job = _random.choice(known[-_RECENT:])
        # No more than those that there are: a variable too many makes it one of the wrong ones.
        variables.update({each: job.variables.get(each, variables[each]) for each in variables})
        variables[name] = job.id
    if job is not None and "If-None-Match" in case.headers and job.id in _tags:
        case.headers["If-None-Match"] = _tags[job.id]
    return job


def _is_chain(case: Any) -> bool:
    return case.meta is not None and case.meta.phase.name == TestPhase.STATEFUL


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Remember what there is now, and what was answered."""
    _seen[f"{case.method} {case.operation.path} {response.status_code}"] += 1
    of_job = _jobs_in(response)
    if not of_job:
        listed = (case.operation.path, response.request.method) == (_LIST, "GET")
        if listed and response.status_code == 200:
            _cursors.extend(re.findall("cursor=([^&]+)", response.json()["next"] or ""))
        return
    (job_id,) = of_job
    if not {*(case.path_parameters or {})} & {*_IDS}:
        path, variables = case.operation.path, dict(case.path_parameters or {})
        _jobs.setdefault(job_id, _Job(job_id, _caller(response, _USER), path, variables))
    for tag in response.headers.get("etag", []):
        _tags[job_id] = tag


@schemathesis.check
def only_problems_of_ours(context: Any, response: Any, case: Any) -> None:
    """What is a 5xx is a problem of the table; or the app's own, of the view that always raises."""
    if response.status_code < 500:
        return
    job = _jobs.get("".join(_jobs_in(response)))
    if job is not None and job.path == _RAISES and response.status_code == 500:
        return
    kind = response.headers.get("content-type", [""])[0]
    assert kind == "application/problem+json", (response.status_code, kind)
    problem = response.json()
    assert _PROBLEMS.get(problem["type"]) == response.status_code == problem["status"], problem


@schemathesis.check
def events_tell_the_status(context: Any, response: Any, case: Any) -> None:
    """Each event of a stream has the status document of the job that was asked for, the last one
    that of its end."""
    if response.headers.get("content-type", [""])[0].startswith("text/event-stream"):
        data = re.findall(r"(?m)^data: (.*)$", response.text)
        document = case.operation.schema.raw_schema
        status = {**document["components"]["schemas"]["AsyncJobsStatus"]}
        validator = Draft202012Validator({**status, "components": document["components"]})
        told = [json.loads(each) for each in data]
        for each in told:
            validator.validate(each)
        assert {each["id"] for each in told} == {*_jobs_in(response)}
        assert told[-1]["state"] not in ("queued", "running")


@schemathesis.check
def nothing_of_others(context: Any, response: Any, case: Any) -> None:
    """Who is no operator is told of their own jobs alone."""
    if _caller(response, _OPERATOR):
        return
    user = _caller(response, _USER)
    told = [*re.findall(r"\b[0-9a-f]{32}\b", response.text), *_jobs_in(response)]
    assert all(_jobs[each].owner == user for each in told if each in _jobs), (user, told)


@atexit.register
def _tell_what_was_seen() -> None:
    Path(os.environ["SCHEMATHESIS_SEEN"]).write_text(json.dumps(_seen))


def _jobs_in(response: Any) -> list[str]:
    return _OF_JOB.findall(", ".join(response.headers.get("link", [])))


def _caller(response: Any, header: str) -> str | None:
    value: str | None = response.request.headers.get(header)
    return value
