"""What is written beside the parameters of a function, and the fields of a class, as types."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import InitVar
from datetime import date, datetime
from functools import lru_cache, partial
from types import SimpleNamespace, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    NewType,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
)

#: What a field is, and not of which type.
_QUALIFIERS = (Required, NotRequired, Final, getattr(typing, "ReadOnly", Final))
#: What pydantic's own names of types say of a time, and not which type it is.
_TIMES = {
    **dict.fromkeys(("PastDate", "FutureDate"), date),
    **dict.fromkeys(("PastDatetime", "FutureDatetime", "AwareDatetime", "NaiveDatetime"), datetime),
}


@lru_cache(maxsize=1024)
def hints_of(annotated: Callable[..., Any]) -> Mapping[str, Any]:
    """The annotations of a function or a class. Those that cannot be resolved count as none."""
    try:
        return typing.get_type_hints(annotated, include_extras=True)
    except Exception:  # one name that is there for the type checker only is enough
        return _one_by_one(annotated)


def hints_of_call(called: Callable[..., Any]) -> Mapping[str, Any]:
    """The annotations of something that can be called. Calling a class makes an instance of it, and
    its parameters are its fields, or those of ``__init__``."""
    called = without_partials(called)
    if inspect.isclass(called):
        made: Any = called
        return {**hints_of(made.__init__), **hints_of(made), "return": made}
    return hints_of(called if inspect.isroutine(called) else type(called).__call__)


def without_partials(called: Callable[..., Any]) -> Callable[..., Any]:
    """What is called in the end, behind partials and what makes a method static."""
    while isinstance(called, (partial, staticmethod)):
        called = called.func if isinstance(called, partial) else called.__func__
    return called


def bare(hint: Any) -> Any:
    """A type without what is said of it, and by its own name: no ``Annotated``, no alias."""
    while True:
        origin = get_origin(hint)
        if origin is Annotated or origin in _QUALIFIERS:
            hint = get_args(hint)[0]
        elif isinstance(hint, InitVar):
            hint = hint.type
        elif isinstance(hint, NewType):
            hint = hint.__supertype__
        elif getattr(hint, "__module__", "") == "pydantic.types" and hint.__name__ in _TIMES:
            hint = _TIMES[hint.__name__]
        elif type(hint).__name__ == "TypeAliasType":  # Python 3.12
            hint = hint.__value__
        elif type(origin).__name__ == "TypeAliasType":
            hint = origin.__value__[get_args(hint)]
        else:
            return hint


def arms_of(hint: Any) -> list[Any]:
    """The members of a union, or the one type that it is."""
    hint = bare(hint)
    if get_origin(hint) in (Union, UnionType):
        return [arm for member in get_args(hint) for arm in arms_of(member)]
    return [hint]


def fields_of(hint: Any) -> dict[str, Any]:
    """The annotations of a class, where its own parameters have the values that `hint` gives."""
    cls = get_origin(hint) or hint
    values = dict(zip(getattr(cls, "__parameters__", ()), get_args(hint), strict=False))
    return {name: _filled(field, values) for name, field in hints_of(cls).items()}


def _filled(hint: Any, values: Mapping[Any, Any]) -> Any:
    while get_origin(hint) in _QUALIFIERS:
        hint = get_args(hint)[0]
    if isinstance(hint, typing.TypeVar):
        return values.get(hint, Any)
    parameters = getattr(hint, "__parameters__", ())
    if not values or not parameters or isinstance(hint, type):
        return hint
    return hint[tuple(values.get(parameter, Any) for parameter in parameters)]


def _one_by_one(annotated: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    classes = reversed(annotated.__mro__) if inspect.isclass(annotated) else [annotated]
    for owner in classes:
        if inspect.isclass(owner):
            names = vars(sys.modules.get(owner.__module__, typing))
        else:
            names = getattr(inspect.unwrap(owner), "__globals__", {})
        for name, written in inspect.get_annotations(owner).items():
            alone: Any = SimpleNamespace(__annotations__={name: written})
            try:
                found |= typing.get_type_hints(alone, names, include_extras=True)
            except Exception:
                found.pop(name, None)
    return found
