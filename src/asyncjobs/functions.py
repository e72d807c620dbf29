"""Registered functions: the request that a call of one is, and the response that its result is.

A call is a POST to the function's name, with its arguments as JSON, and its result is a JSON
response. Stores and engines cannot tell them from those of a view.
"""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .annotations import without_partials
from .arguments import Callee, to_json, why
from .errors import (
    ConfigurationError,
    HandlerFailed,
    JobFailure,
    JobUnreadable,
    ResponseTooLarge,
    SetupError,
)
from .forms import Unlike, may_have_form
from .given import shown, text
from .job import Request, Response
from .outcome import Outcome, Unusable
from .problem import CONTENT_TYPE, problem_type
from .running.threads import Threads, is_kind_of

_IS_JSON = (b"content-type", b"application/json")
#: The header of a result that is no plain JSON: its form, see `forms`.
FORM_HEADER = b"asyncjobs-form"


class Functions:
    """The functions that jobs can be made of, each by the route of its jobs."""

    def __init__(self) -> None:
        self._routes: dict[object, str] = {}
        self._callees: dict[str, Callee] = {}

    def add(self, callee: Callee) -> None:
        """Find `callee` by its name and by its function from now on."""
        self._routes[_key(callee.function)] = callee.name
        self._callees[callee.name] = callee

    def route_of(self, function: Callable[..., Any] | str) -> str:
        """The route of the jobs of a function, or of the one that was given this name.

        Raises:
            SetupError: it can have none, and why.
            TypeError: it was called already.
        """
        if isinstance(function, str):
            return function
        if (route := self._routes.get(_key(function))) is not None:
            return route
        route = _name_of(function)
        if inspect.ismethod(function) and route in self._callees:
            raise SetupError(
                f"{route} was registered as a function of its class, so that a job would have no "
                "`self`: register the method of the object, jobs.function(object.method)"
            )
        return route

    def call(self, route: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request:
        """The request that a call with these arguments is.

        Raises:
            Unstorable: one of them cannot be stored.
        """
        callee = self._callees.get(route) or Callee(_unknown, route)
        return Request(
            method="POST",
            path=f"/{route}",
            headers=(_IS_JSON,),
            body=callee.stored(args, kwargs),
        )

    def returned(self, route: str, response: Response) -> Any:
        """What the function has returned.

        Raises:
            JobFailure: why there is nothing.
        """
        value = json.loads(response.body)
        if (b"content-type", CONTENT_TYPE.encode()) in response.headers:
            raise _FAILURES.get(value["type"], JobFailure)(value["detail"])
        form = dict(response.headers).get(FORM_HEADER)
        callee = self._callees.get(route)
        if form is None or callee is None:
            return value
        return callee.result_from_data(value, json.loads(form))


def response_of(callee: Callee, result: Any) -> Response:
    """What is stored of a function's result.

    Raises:
        TypeError, ValueError: it is not JSON.
    """
    try:
        data, form = callee.result_to_data(result)
    except (Unlike, RecursionError) as error:
        # A tuple becomes a list, and an int as a key text: the function has done its work.
        try:
            return Response(200, (_IS_JSON,), to_json("the function's result is", result))
        except TypeError as not_json:
            raise TypeError(f"{not_json}: {why('the result', error)}") from None
    body = to_json("the function's result is", data)
    if form is None:
        return Response(200, (_IS_JSON,), body)
    return Response(200, (_IS_JSON, (FORM_HEADER, json.dumps(form).encode())), body)


class Call:
    """Performs the calls of one function: what its handler does.

    Args:
        threads: the pool that sync functions run in now.
        limit: the most bytes of a result.
    """

    def __init__(self, callee: Callee, threads: Callable[[], Threads], limit: int) -> None:
        self._callee = callee
        self._threads = threads
        self._limit = limit

    async def __call__(self, request: Request) -> Outcome:
        try:
            args, kwargs = self._callee.given(request.body)
        except JobUnreadable as error:
            return Unusable(error)
        result = await self._threads().call(self._callee.function, *args, **kwargs)
        try:
            response = response_of(self._callee, result)
        except (TypeError, ValueError) as error:
            return Unusable(HandlerFailed(str(error)))
        if self._limit < (size := len(response.body)):
            return Unusable(
                ResponseTooLarge(f"the result has {size} bytes, over the limit of {self._limit}")
            )
        return response


def name_of_function(function: Any, name: str | None) -> str:
    """What the jobs of a function are stored under.

    Args:
        name: given by whoever registers it, or None.

    Raises:
        ConfigurationError: the name is no text.
        SetupError: it is none, has no name, or can never have a result.
        TypeError: it was called already.
    """
    route = _name_of(function) if not name or inspect.iscoroutine(function) else name
    check_name(route)
    if not callable(function):
        raise SetupError(f"@jobs.function registers a function, not {shown(function)}")
    if is_kind_of(function, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        raise SetupError(
            f"{route!r} is a generator, which is no JSON: return a list of what it yields"
        )
    _check_result(route, without_partials(function))
    return route


def _check_result(route: str, called: Any) -> None:
    if getattr(called, "__globals__", None) is vars(contextlib) and is_kind_of(
        inspect.unwrap(called), inspect.isgeneratorfunction, inspect.isasyncgenfunction
    ):
        raise SetupError(
            f"{route!r} is a context manager, which is no JSON: register a function that enters it"
        )
    if inspect.isclass(called) and called.__new__ is object.__new__ and not may_have_form(called):
        raise SetupError(
            f"{route!r} makes a {called.__qualname__}, which cannot be stored: register a function "
            "that returns what JSON has a form for, or make the class a dataclass"
        )


def check_name(name: str) -> None:
    """Refuse a name that no job could be stored with.

    Raises:
        ConfigurationError
    """
    try:
        text("the name of a handler", name)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(str(error)) from None


def _key(function: Any) -> object:
    """What a function is found by again: itself, where it can be."""
    try:
        hash(function)
    except TypeError:
        return id(function)  # it is kept alive by its handler
    return function


def _name_of(function: Any) -> str:
    if inspect.iscoroutine(function):
        function.close()
        raise TypeError("the function was called: submit(function, 1), not submit(function(1))")
    try:
        # In a process that multiprocessing has spawned, the main module has another name.
        module = function.__module__.replace("__mp_main__", "__main__")
        return f"{module}.{function.__qualname__}"
    except AttributeError:  # a functools.partial, for one
        raise SetupError(
            f"{shown(function)} has no name: register it as jobs.function(name=...)(function), and "
            "submit that name"
        ) from None


def _unknown(*args: Any, **kwargs: Any) -> None:
    """In the place of a handler that is no function."""


def _failure_types(base: type[JobFailure]) -> dict[str, type[JobFailure]]:
    """Every kind of failure by the type of its problem document."""
    return {problem_type(kind("")): kind for kind in [base, *base.__subclasses__()]}


_FAILURES = _failure_types(JobFailure)
