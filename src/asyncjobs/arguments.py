"""What functions and views are called with, as JSON that is stored, and back.

Plain JSON is stored as it is, and read without a look at any annotation. All else is typed by the
annotations of what is called: see `forms`.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Unpack, get_args, get_origin

from .annotations import fields_of, hints_of_call
from .errors import JobUnreadable, Unstorable
from .forms import Form, Unlike, from_data, is_plain, to_data, written

_PLACED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Callee:
    """What is called with stored arguments, and returns what is stored. Its annotations are read
    once, and only if something is no plain JSON.

    Args:
        function: whatever can be called.
        name: what it is called in messages.
        is_method: whether it has the object as its first parameter, which is nobody's argument.
        way_out: what else can be done about an argument that cannot be stored.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        *,
        is_method: bool = False,
        way_out: str = "",
    ) -> None:
        self.function = function
        self.name = name
        self._is_method = is_method
        self._way_out = way_out

    def stored(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """These arguments as JSON.

        Raises:
            Unstorable: one of them cannot be stored; the message says which, why and what to do.
        """
        placed, places = self._to_data(enumerate(args))
        named, names = self._to_data(kwargs.items())
        stored: dict[str, Any] = {"args": list(placed.values()), "kwargs": named}
        if places or names:
            stored["forms"] = {"args": places, "kwargs": names}
        return to_json("the arguments are", stored)

    def given(self, text: bytes) -> tuple[list[Any], dict[str, Any]]:
        """The reverse of `stored`.

        Raises:
            JobUnreadable: they are damaged, or the annotations are others than they were.
        """
        try:
            stored = json.loads(text)
            forms = stored.get("forms", {"args": {}, "kwargs": {}})
            args = self._from_data(enumerate(stored["args"]), forms["args"])
            kwargs = self._from_data(stored["kwargs"].items(), forms["kwargs"])
        except Exception as error:  # whose message may quote the data, for whoever polls
            raise JobUnreadable(
                f"what {self.name!r} was to be called with cannot be read any more: it is damaged, "
                f"or the annotations have changed ({type(error).__name__})"
            ) from error
        return list(args.values()), kwargs

    def result_to_data(self, result: Any) -> tuple[Any, Form]:
        """What was returned, as `to_data` has it.

        Raises:
            Unlike, RecursionError
        """
        return to_data(result, self._returns)

    def result_from_data(self, data: Any, form: Form) -> Any:
        """The reverse of `result_to_data`.

        Raises:
            JobUnreadable: the annotation is another one than it was.
        """
        try:
            return from_data(data, form, self._returns)
        except Exception as error:
            raise JobUnreadable(
                f"what {self.name!r} has returned cannot be read as {written(self._returns)}, as "
                f"its annotation says now ({type(error).__name__}): `Jobs.poll` has it as JSON"
            ) from error

    def name_of(self, key: int | str) -> str:
        """The name of an argument, which is that of its parameter if it was passed by position."""
        if isinstance(key, str):
            return key
        placed = self._parameters_of(*_PLACED)
        return placed[key].name if key < len(placed) else f"#{key + 1}"

    def _to_data(
        self, arguments: Iterable[tuple[Any, Any]]
    ) -> tuple[dict[Any, Any], dict[str, Form]]:
        data: dict[Any, Any] = {}
        forms: dict[str, Form] = {}
        for key, value in arguments:
            try:
                if is_plain(value):
                    data[key] = value
                else:
                    data[key], forms[str(key)] = to_data(value, self._hint(key))
            except (Unlike, RecursionError) as error:
                name = self.name_of(key)
                raise Unstorable(
                    f"the argument {name!r} of {self.name!r} cannot be stored: "
                    f"{why(name, error)}. Annotate the parameter with its type, or pass what JSON "
                    f"has a form for, such as an id{self._way_out}"
                ) from None
        return data, forms

    def _from_data(
        self, arguments: Iterable[tuple[Any, Any]], forms: Mapping[str, Form]
    ) -> dict[Any, Any]:
        return {
            key: from_data(data, forms[str(key)], self._hint(key)) if str(key) in forms else data
            for key, data in arguments
        }

    def _hint(self, key: int | str) -> Any:
        """The annotation of the parameter that an argument is for."""
        if isinstance(key, int):
            placed = self._parameters_of(*_PLACED)
            rest = self._parameters_of(inspect.Parameter.VAR_POSITIONAL)
            return self._hint_of([*placed[key : key + 1], *rest])
        named = [found for found in self._parameters_of(*_NAMED) if found.name == key]
        rest = self._parameters_of(inspect.Parameter.VAR_KEYWORD)
        hint = self._hint_of([*named, *rest])
        if get_origin(hint) is Unpack:  # of a TypedDict
            return fields_of(get_args(hint)[0]).get(key, Any)
        return hint

    def _hint_of(self, parameters: list[inspect.Parameter]) -> Any:
        return self._hints.get(parameters[0].name, Any) if parameters else Any

    def _parameters_of(self, *kinds: Any) -> list[inspect.Parameter]:
        return [found for found in self._parameters if found.kind in kinds]

    @cached_property
    def _parameters(self) -> list[inspect.Parameter]:
        try:
            found = list(inspect.signature(self.function).parameters.values())
        except (TypeError, ValueError):  # some that are written in C have none
            return []
        return found[1:] if self._is_method else found

    @cached_property
    def _hints(self) -> Mapping[str, Any]:
        return hints_of_call(self.function)

    @property
    def _returns(self) -> Any:
        return self._hints.get("return", Any)


def to_json(what: str, value: Any) -> bytes:
    """Plain data as JSON.

    Raises:
        TypeError, ValueError: they are none; the message begins with `what`.
    """
    try:
        return json.dumps(value, allow_nan=False).encode()
    except TypeError as error:
        raise TypeError(f"{what} not JSON: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} not JSON: {error}") from error


def why(name: str, error: Unlike | RecursionError) -> str:
    """What keeps a value from being stored, in words that go on after a colon."""
    if isinstance(error, RecursionError):
        return f"{name} is nested too deep, or contains itself"
    place, part = f"{name}{error.path}", error.part
    kind = type(part).__qualname__
    if isinstance(part, float) and not math.isfinite(part):
        return f"{place} is {part}, and JSON has neither nan nor infinity"
    if isinstance(part, int) and not is_plain(part):
        return f"{place} is an int of more digits than Python writes"
    if error.hint is Any:
        return f"{place} is no JSON but a {kind}, and no annotation says so"
    return (
        f"{place} is a {kind}, and what would be made of it again as {written(error.hint)}, its "
        "annotation, is not equal to it"
    )
