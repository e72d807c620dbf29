"""Values as plain JSON data, and back by the types that annotations name.

What comes back equals what was given, and has the same types all the way down: that is tried out
before anything is stored. So next to the data stands its *form*, which says how to read it:

* None: it is plain JSON, and the value itself
* ``"typed"``, ``"pydantic"``: that library makes the value of it, by the type alone, without
  what is said of it
* ``"annotated"``: pydantic does, by the whole annotation
* ``{"parts": {name: form}}``: it has the parts of the value, each with a form of its own; under
  ``"*"`` is that of all which have none. Parts that nobody else should see are under ``"hidden"``
* ``{"arm": 1, "form": form}``: it has been read by the second type of a union

The libraries make only what has no parts, and containers of that. All objects are taken apart, for
a library that makes one runs ``__post_init__`` and validators: a time that was in the future when
the job came is not any more when it runs. Nor would it leave text in a field that is annotated
``UUID``, where another library has put it.
"""

from __future__ import annotations

import json
import math
import sys
from contextlib import suppress
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.inspect import CustomType, type_info

from .annotations import arms_of, bare
from .given import is_storable
from .shapes import Shape, is_of_scalars, same, shape_of

Form = str | dict[str, Any] | None

_ALL = "*"


class Unlike(Exception):
    """A value, or a part of it, that would not come back as it is.

    Attributes:
        path: where it stands in the value, as Python writes it.
        part: what stands there.
        hint: its annotation.
    """

    def __init__(self, path: str, part: Any, hint: Any) -> None:
        super().__init__(path)
        self.path = path
        self.part = part
        self.hint = hint


def to_data(value: Any, hint: Any) -> tuple[Any, Form]:
    """`value` as plain JSON data, and the form that these have.

    Raises:
        Unlike: that is not possible.
        RecursionError: it is nested too deep, or in a circle.
    """
    data, form = _taken_apart(value, hint)
    if isinstance(form, dict) and not _comes_back(value, data, form, hint):
        raise Unlike("", value, hint)
    return data, form


def from_data(data: Any, form: Form, hint: Any) -> Any:
    """The reverse of `to_data`, with the same annotation.

    Raises:
        Exception: any, of whoever makes the value: the annotation is another one, or the data are
            damaged.
    """
    if form is None:
        return data
    if form == "typed":
        return msgspec.convert(data, bare(hint), str_keys=True)
    if form in ("pydantic", "annotated"):
        adapter = _adapter(bare(hint) if form == "pydantic" else hint)
        return adapter.validate_json(json.dumps(data))
    if not isinstance(form, dict):
        raise ValueError(f"there is no form {form!r}")
    arms = arms_of(hint)
    if "arm" in form:
        return from_data(data, form["form"], arms[form["arm"]])
    shape = shape_of(arms[0])
    if shape is None:
        raise TypeError(f"{written(hint)} has no parts")
    if "hidden" in form:
        data = {**data, **form["hidden"]}
    return shape.make(_parts_from_data(data, form["parts"], shape))


def is_plain(value: Any) -> bool:
    """Whether JSON has a form for exactly this.

    Raises:
        RecursionError
    """
    cls = type(value)
    if cls is str:
        return value.isascii() or is_storable(value) or json.loads(json.dumps(value)) == value
    if cls is int:
        return -(2**64) < value < 2**64 or _has_digits(value)
    if cls is float:
        return math.isfinite(value)
    if cls is list:
        return all(map(is_plain, value))
    if cls is dict:
        return all(type(key) is str for key in value) and all(
            is_plain(key) and is_plain(item) for key, item in value.items()
        )
    return value is None or cls is bool


def may_have_form(cls: type) -> bool:
    """Whether instances of this class may be something that is no plain JSON and can be stored."""
    if shape_of(cls) is not None or not isinstance(type_info(cls), CustomType):
        return True
    with suppress(Exception):
        return "pydantic" in sys.modules and _adapter(cls) is not None
    return False


def written(hint: Any) -> str:
    """An annotation in a message."""
    return hint.__qualname__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _stranger(value: Any, path: str) -> Unlike:
    """The first part of `value` that JSON has no form for."""
    items: Any = ()
    if type(value) is list:
        items = enumerate(value)
    elif type(value) is dict:
        items = value.items() if all(type(key) is str for key in value) else ()
    for key, item in items:
        if not is_plain(item):
            return _stranger(item, f"{path}[{key!r}]")
    return Unlike(path, value, Any)


def _has_digits(value: int) -> bool:
    """Whether Python writes it out: not if it has more than 4,300 digits."""
    try:
        return bool(str(value))
    except ValueError:
        return False


def _taken_apart(value: Any, hint: Any) -> tuple[Any, Form]:
    """As `to_data`, but it was not tried out what comes of the parts."""
    if is_plain(value):
        return value, None
    if bare(hint) is Any or bare(hint) is object:
        raise _stranger(value, "")
    for form in _library_forms(hint):
        with suppress(Exception):  # then it is for the next one, or for nobody
            data = _through_json(_by_library(value, form, hint))
            if _comes_back(value, data, form, hint):
                return data, form
    arms = arms_of(hint)
    return _by_parts(value, arms[0]) if len(arms) == 1 else _by_arms(value, arms, hint)


def _library_forms(hint: Any) -> tuple[str, ...]:
    """The libraries that may make what has this type: none of it is asked for its opinion."""
    if is_of_scalars(hint):
        return ("typed",)
    arms = arms_of(hint)
    if len(arms) > 1 or shape_of(arms[0]) is not None:
        return ()
    return ("typed", "pydantic", "annotated") if "pydantic" in sys.modules else ("typed",)


def _by_library(value: Any, form: str, hint: Any) -> Any:
    if form == "typed":
        return msgspec.to_builtins(value, str_keys=True)
    return _adapter(bare(hint) if form == "pydantic" else hint).dump_python(
        value, mode="json", by_alias=True, round_trip=True, warnings=False
    )


def _comes_back(value: Any, data: Any, form: Form, hint: Any) -> bool:
    try:
        return same(from_data(_through_json(data), form, hint), value)
    except RecursionError:
        raise
    except Exception:
        return False


@lru_cache(maxsize=1024)
def _adapter(hint: Any) -> Any:
    from pydantic import TypeAdapter  # only where it is, and something has been met that is its

    return TypeAdapter(hint)


def _through_json(data: Any) -> Any:
    return json.loads(json.dumps(data, allow_nan=False))


def _by_arms(value: Any, arms: list[Any], hint: Any) -> tuple[Any, Form]:
    deepest = Unlike("", value, hint)
    for number, arm in enumerate(arms):
        try:
            data, form = _taken_apart(value, arm)
        except Unlike as error:
            deepest = max(deepest, error, key=lambda error: len(error.path))
        else:
            return data, {"arm": number, "form": form}
    raise deepest


def _by_parts(value: Any, hint: Any) -> tuple[Any, Form]:
    shape = shape_of(hint)
    if shape is None or shape.cls is not type(value):
        raise Unlike("", value, hint)
    data, forms = _parts_to_data(shape.take(value), shape)
    if not shape.hidden:
        return data, {"parts": forms}
    return data, {"parts": forms, "hidden": {name: data.pop(name) for name in shape.hidden}}


def _parts_to_data(parts: Any, shape: Shape) -> tuple[Any, dict[str, Form]]:
    forms: dict[str, Form] = {}
    named = isinstance(parts, dict)
    data: Any = {} if named else [None] * len(parts)
    for key, part in parts.items() if named else enumerate(parts):
        try:
            data[key], form = _taken_apart(part, shape.hint(key))
        except Unlike as error:
            step = f".{key}" if named else f"[{key}]"
            raise Unlike(step + error.path, error.part, error.hint) from None
        if form is not None:
            forms[str(key)] = form
    if not named and len(forms) == len(parts) > 1 and _are_all_one(forms):
        forms = {_ALL: forms["0"]}
    return data, forms


def _are_all_one(forms: dict[str, Form]) -> bool:
    first, *others = forms.values()
    return all(form == first for form in others)


def _parts_from_data(data: Any, forms: dict[str, Form], shape: Shape) -> Any:
    def part(key: str | int, written: Any) -> Any:
        return from_data(written, forms.get(str(key), forms.get(_ALL)), shape.hint(key))

    if isinstance(data, dict):
        return {key: part(key, written) for key, written in data.items()}
    return [part(key, written) for key, written in enumerate(data)]
