"""Jobs in the OpenAPI document that quart-schema makes of an app.

Of a view in the background it knows what the handler answers, and takes that for the answer of the
view's route; of our own routes it knows the rules. So each document is gone over once it is made:
what it says of the handler moves to where its result is polled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

from quart import Quart
from werkzeug.routing import Rule

from ..http.query import DEFAULT_LIMIT, MAX_LIMIT
from ..quart_side import converters_of
from ..routing.marks import (
    JOB_ENDPOINTS,
    LIST_ENDPOINT,
    RESULT_ENDPOINT,
    RETRY_ENDPOINT,
    STATUS_ENDPOINT,
    background_at,
    polled_at,
)
from ..routing.routes import JobIdConverter
from .answers import (
    JOB_ID,
    Part,
    Responses,
    accepted,
    any_result,
    components,
    failures,
    if_none_match,
    invalid,
    last_event_id,
    listed,
    merged,
    no_such_url,
    not_found,
    not_modified,
    of_lists,
    of_submissions,
    pending,
    prefer,
    refusals_to_cancel,
    refusals_to_submit,
    refusals_to_tell,
    result,
    status_document,
    status_or_events,
)

#: Those that a document of OpenAPI 3.1 has a place for.
_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
_NO_CONVERTER = re.compile(r"<(\w+)>")
_NO_WORD = re.compile(r"\W+")


def add_jobs(app: Quart, provider: Any, document: Part, max_wait: float) -> None:
    """Describe in a document of quart-schema's what is about jobs.

    Args:
        max_wait: the most seconds that clients can wait for a job.
    """
    _Document(app, provider, document, max_wait).add_jobs()


def with_converters(generate_rules: Callable[[], Iterable[Rule]]) -> Iterator[Rule]:
    """Every rule written as ``/<default:name>/<asyncjobs_id:id>``: of ``/<name>/…:id`` quart-schema
    makes ``/{id}``, up to version 0.25 at least, and each poll route has a colon."""
    for rule in generate_rules():
        written = copy(rule)
        written.rule = _NO_CONVERTER.sub(r"<default:\1>", rule.rule)
        yield written


@dataclass(frozen=True, slots=True, eq=False)
class _Operation:
    """What one method of a rule does.

    Attributes:
        path: as the document writes it.
        method: in lower case.
        built: what quart-schema says of it, as long as no other rule has the same path.
        here: what the document says of it.
    """

    rule: Rule
    path: str
    method: str
    built: Part
    here: Part

    @property
    def endpoint(self) -> str:
        return str(self.rule.endpoint)

    @property
    def place(self) -> tuple[str, str]:
        return self.path, self.method


class _Document:
    """A document of quart-schema's, on its way to be one that tells of jobs."""

    def __init__(self, app: Quart, provider: Any, document: Part, max_wait: float) -> None:
        self._app = app
        self._provider = provider
        self._document = document
        self._prefer = prefer(max_wait)
        self._paths: dict[str, Part] = document["paths"]
        operations = [*self._operations()]
        self._submissions = [each for each in operations if self._is_marked(each.endpoint)]
        self._polls = [each for each in operations if self._is_marked(polled_at(each.endpoint))]
        self._resources = [each for each in operations if each.endpoint in JOB_ENDPOINTS]
        self._retries = [each for each in operations if each.endpoint == RETRY_ENDPOINT]
        self._lists = [each for each in operations if each.endpoint == LIST_ENDPOINT]

    @property
    def _of_jobs(self) -> tuple[list[_Operation], ...]:
        """What is there for jobs that were made."""
        return self._polls, self._resources, self._retries, self._lists

    def add_jobs(self) -> None:
        """Describe what is about jobs, and take away what is about hidden ones."""
        self._hide()
        self._name()
        for submission in self._submissions:
            self._describe_submission(submission)
        for polls in _by_place(self._polls):
            endpoints = {polled_at(poll.endpoint) for poll in polls}
            submissions = [each for each in self._submissions if each.endpoint in endpoints]
            self._describe_poll(polls[0], submissions)
            self._carry_over(polls[0], submissions)
        for resource, *_ in _by_place(self._resources):
            if resource.endpoint == STATUS_ENDPOINT and resource.method == "get":
                self._describe_status(resource)
            else:
                self._describe_poll(resource, self._submissions)
            self._guard(resource, self._submissions)
        for steps, describe in ((self._retries, _describe_retry), (self._lists, _describe_list)):
            for step, *_ in _by_place(steps):
                describe(step)
                self._guard(step, self._submissions)
        for kind, parts in components().items():
            self._document.setdefault("components", {}).setdefault(kind, {}).update(parts)

    def _operations(self) -> Iterator[_Operation]:
        for rule in self._provider.generate_rules():
            ids = [
                name
                for name, converter in converters_of(rule).items()
                if isinstance(converter, JobIdConverter)
            ]
            if not (ids or rule.endpoint == LIST_ENDPOINT or self._is_marked(rule.endpoint)):
                continue
            paths, _ = self._provider.build_paths(rule)
            for path, item in paths.items():
                for method, built in item.items():
                    here = self._paths.get(path, {}).get(method)
                    if isinstance(here, dict):  # a path may have more than its operations
                        _tell_ids(here, ids)
                        yield _Operation(rule, path, method, built, here)

    def _is_marked(self, endpoint: str) -> bool:
        return background_at(self._app, endpoint) is not None

    def _hide(self) -> None:
        """Take away what hidden routes alone have brought, and what no document has a place for."""
        shown = {each.endpoint for each in self._submissions}
        gone = [each for each in self._polls if polled_at(each.endpoint) not in shown]
        self._polls = [each for each in self._polls if each not in gone]
        if not shown and any(map(self._is_marked, self._app.view_functions)):
            gone += [*self._resources, *self._retries, *self._lists]
            self._resources, self._retries, self._lists = [], [], []
        if str(self._document["openapi"]) < "3.2":
            gone += [each for each in self._submissions if each.method not in _METHODS]
        kept = {each.place for each in chain(*self._of_jobs)}
        for each in gone:
            if each.place not in kept:
                self._paths.get(each.path, {}).pop(each.method, None)
            if not self._paths.get(each.path, True):
                del self._paths[each.path]

    def _name(self) -> None:
        """Give our operations ids that no other has: where several views have one name, or one view
        several rules, the shortest path has the name for itself."""
        ours = [
            same[0]
            for kind in (self._submissions, *self._of_jobs)
            for same in _by_place(sorted(kind, key=lambda each: len(each.path)))
        ]
        places = {each.place for each in ours}
        taken = {
            operation.get("operationId")
            for path, item in self._paths.items()
            for method, operation in item.items()
            if (path, method) not in places and isinstance(operation, dict)
        }
        for each in ours:
            last = each.method + _NO_WORD.sub("_", each.path).rstrip("_")
            names = chain([self._id(each), last], (f"{last}_{n}" for n in count(2)))
            each.here["operationId"] = next(name for name in names if name not in taken)
            taken.add(each.here["operationId"])

    def _id(self, operation: _Operation) -> str:
        endpoint = operation.endpoint
        if endpoint in JOB_ENDPOINTS:
            return f"{operation.method}_job{'_result' * (endpoint == RESULT_ENDPOINT)}"
        if endpoint in (RETRY_ENDPOINT, LIST_ENDPOINT):
            return "retry_job" if endpoint == RETRY_ENDPOINT else "list_jobs"
        if self._is_marked(endpoint):
            return str(operation.here.get("operationId") or f"{operation.method}_{endpoint}")
        view = self._app.view_functions[polled_at(endpoint)]
        name = self._provider.operation_id(operation.method.upper(), operation.path, view)
        return f"{name or f'{operation.method}_{view.__name__}'}_job"

    def _describe_submission(self, submission: _Operation) -> None:
        with_body = "requestBody" in submission.here or submission.method in (
            "post",
            "put",
            "patch",
            "query",
        )
        results = _results(submission)
        submission.here.update(
            parameters=[
                *submission.here.get("parameters", []),
                self._prefer,
                *of_submissions(),
            ],
            responses=_united(
                {"202": accepted(self._links(submission))},
                refusals_to_submit(with_body=with_body),
                no_such_url() if converters_of(submission.rule) else {},
                {status: result(at_once=True) for status in results},
                results,
                _refused(submission, at_once=True),
                failures(at_once=True),
                {} if results else {"default": any_result(at_once=True)},
            ),
        )

    def _links(self, submission: _Operation) -> Part:
        polls = [
            poll
            for poll in self._polls
            if polled_at(poll.endpoint) == submission.endpoint
            and poll.rule.rule.rpartition("/")[0] == submission.rule.rule.rstrip("/")
        ]
        links = {}
        for target in [*self._resources, *polls]:
            name = "status" if target.endpoint == STATUS_ENDPOINT else "result"
            links[name if target.method == "get" else "cancel"] = {
                "operationId": target.here["operationId"],
                "parameters": {
                    variable: "$response.body#/TaskId"
                    if isinstance(converter, JobIdConverter)
                    else f"$request.path.{variable}"
                    for variable, converter in converters_of(target.rule).items()
                },
            }
        return links

    def _describe_poll(self, poll: _Operation, submissions: list[_Operation]) -> None:
        """Say of `poll` that it tells what these have come to, or cancels them."""
        if poll.method == "delete":
            _describe_cancellation(poll)
            return
        results = [_results(each) for each in submissions]
        described = [{status: result(at_once=False) for status in each} for each in results]
        unknown = [{"default": any_result(at_once=False)} for each in results or [{}] if not each]
        poll.here.update(
            summary="The result of a job",
            description="What its handler has answered, again and again; until it has, a 202.",
            parameters=[*poll.here["parameters"], self._prefer, if_none_match()],
            responses=_united(
                {"202": pending()},
                *described,
                *results,
                *(_refused(each, at_once=False) for each in submissions),
                not_modified(),
                not_found(),
                failures(at_once=False),
                *unknown,
            ),
        )

    def _describe_status(self, status: _Operation) -> None:
        status.here.update(
            summary="How a job does",
            description="Its state, its progress, and where its result is; or each change of that, "
            "as a stream of events.",
            parameters=[
                *status.here["parameters"],
                self._prefer,
                if_none_match(),
                last_event_id(),
            ],
            responses={**status_or_events(), **not_modified(), **refusals_to_tell()},
        )

    def _carry_over(self, poll: _Operation, submissions: list[_Operation]) -> None:
        """What holds for the submissions holds for their results."""
        tags = [tag for each in submissions for tag in each.built.get("tags", [])]
        if tags:
            poll.here["tags"] = [*dict.fromkeys(tags)]
        if submissions and all(each.built.get("deprecated") for each in submissions):
            poll.here["deprecated"] = True
        self._guard(poll, submissions)

    def _guard(self, operation: _Operation, submissions: list[_Operation]) -> None:
        """Have `operation` demand what any of the submissions demands."""
        if any("security" in each.built for each in submissions):
            everywhere: list[Part] = self._document.get("security") or [{}]
            schemes: list[list[Part]]
            schemes = [each.built.get("security", everywhere) for each in submissions]
            operation.here["security"] = _distinct(chain.from_iterable(schemes))


def _by_place(operations: Iterable[_Operation]) -> Iterable[list[_Operation]]:
    places: dict[tuple[str, str], list[_Operation]] = {}
    for operation in operations:
        places.setdefault(operation.place, []).append(operation)
    return places.values()


def _tell_ids(operation: Part, ids: list[str]) -> None:
    operation["parameters"] = [
        {**parameter, "schema": JOB_ID, "description": "The id of the job"}
        if parameter.get("in") == "path" and parameter.get("name") in ids
        else parameter
        for parameter in operation.get("parameters", [])
    ]


def _results(submission: _Operation) -> Responses:
    """What is said of the handler's answers."""
    said: dict[Any, Part] = submission.built.get("responses", {})
    return {str(status): merged([response]) for status, response in said.items()}


def _refused(submission: _Operation, *, at_once: bool) -> Responses:
    """What a view answers to what it has validated, unless the app says that itself: it cannot be
    told whether that is done above `@jobs.background` or in the job."""
    asked = [each for each in submission.built.get("parameters", []) if each.get("in") != "path"]
    if not ("requestBody" in submission.built or asked) or "400" in _results(submission):
        return {}
    return _united({"400": result(at_once=at_once)}, invalid())


def _united(*several: Responses) -> Responses:
    statuses = dict.fromkeys(chain.from_iterable(several))
    united = {
        status: merged(responses) if len(responses) > 1 else responses[0]
        for status in statuses
        for responses in [[each[status] for each in several if status in each]]
    }
    if "default" in united:  # which tells of the statuses alone that are not told of
        for response in united.values():
            if "content" in response:
                response["content"].setdefault("*/*", {})
    return united


def _distinct(schemes: Iterable[Part]) -> list[Part]:
    distinct: list[Part] = []
    for scheme in schemes:
        if scheme not in distinct:
            distinct.append(scheme)
    return distinct


def _describe_retry(retry: _Operation) -> None:
    retry.here.update(
        summary="Have a job run once more",
        description="One that has failed, was cancelled or interrupted; its counts begin anew.",
        responses={"200": status_document(), **refusals_to_cancel()},
    )


def _describe_list(jobs: _Operation) -> None:
    jobs.here.update(
        summary="The jobs of who asks",
        description="Of an operator those of all.",
        parameters=of_lists(DEFAULT_LIMIT, MAX_LIMIT),
        responses=listed(),
    )


def _describe_cancellation(cancellation: _Operation) -> None:
    cancellation.here.update(
        summary="Cancel a job",
        description="One that runs is asked to stop; the `state` in the answer says which it was.",
        responses={"200": status_document(), **refusals_to_cancel()},
    )
