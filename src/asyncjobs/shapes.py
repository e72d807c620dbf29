"""What values are made of: taken apart, put together again, and compared part by part.

An object is put together as pickle does it: what its parts are it is given, and nobody is asked
whether they are right. They were when it was taken apart.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
from collections import Counter, OrderedDict, abc, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import cached_property, lru_cache
from types import GenericAlias, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, is_typeddict
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from .annotations import bare, fields_of

Parts = dict[str, Any] | list[Any]

_CONTAINERS: dict[Any, Any] = {
    **dict.fromkeys(
        (list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable, abc.Reversible),
        list,
    ),
    **dict.fromkeys((set, abc.Set, abc.MutableSet), set),
    frozenset: frozenset,
}
#: Those of a `defaultdict` that it is made with again, by name.
_FACTORIES: dict[Any, str | None] = {
    None: None,
    **{made: made.__name__ for made in (list, dict, set, tuple, str, int, float, bool)},
}
#: What has nothing in it but its own characters or numbers.
_FLAT = (str, bytes, bytearray, range)
_CLASS: Any = vars(object)["__class__"]
_ATTRS_HASH = "_attrs_cached_hash"
_SCALARS = (str, int, float, bool, NoneType, bytes, UUID, Decimal, datetime, date, time, timedelta)


@dataclass(frozen=True, slots=True)
class Shape:
    """How the values of one type are taken apart.

    Attributes:
        cls: the type of the values itself: a subclass has another shape.
        take: the parts of a value, by name or in their order.
        make: a value of these parts.
        hints: the types of the parts, by name.
        each: the type of those that `hints` has not.
        hidden: the names of parts that are nothing of the value's own, for whoever reads it as
            JSON.
    """

    cls: type
    take: Callable[[Any], Parts]
    make: Callable[[Any], Any]
    hints: Mapping[Any, Any] = dataclasses.field(default_factory=dict)
    each: Any = Any
    hidden: tuple[str, ...] = ()

    def hint(self, key: str | int) -> Any:
        """The type of one part."""
        return self.hints.get(key, self.each)


def shape_of(hint: Any) -> Shape | None:
    """The shape of what has this type, or None if it is no more than its value."""
    try:
        return _shape_of(hint)
    except TypeError:  # an annotation that cannot be hashed
        return _shape_of.__wrapped__(hint)


def is_of_scalars(hint: Any) -> bool:
    """Whether this type is a scalar of Python's own, or a container or union of nothing else: what
    makes such a value runs no code of anybody else."""
    hint = bare(hint)
    args = [arg for arg in get_args(hint) if arg is not ...]
    if get_origin(hint) is Literal or hint in _SCALARS:
        return True
    if get_origin(hint) in (Union, UnionType, dict, tuple, *_CONTAINERS):
        return all(map(is_of_scalars, args))
    return isinstance(hint, type) and issubclass(hint, enum.Enum)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, and have the same types all the way down.

    What a class says of equality does not count: it need not say anything.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, (set, frozenset)):
        others = {item: item for item in other}
        return len(one) == len(other) and all(
            item in others and same(item, others[item]) for item in one
        )
    shape = shape_of(type(one))
    if shape is None or shape.cls is not type(one):
        return _equal(one, other)
    parts: Any = shape.take(one)
    other_parts: Any = shape.take(other)
    if isinstance(parts, dict):
        return parts.keys() == other_parts.keys() and all(
            same(part, other_parts[name]) for name, part in parts.items()
        )
    return len(parts) == len(other_parts) and all(map(same, parts, other_parts))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, (float, complex)):
        return repr(one) == repr(other)  # -0.0 is 0.0 otherwise
    if isinstance(one, abc.Collection) and not isinstance(one, _FLAT):
        return False  # by what it says of equality, 1 in it is 1.0
    if isinstance(one, Decimal):
        one, other = one.as_tuple(), other.as_tuple()  # and 1.0 is 1.00
    return bool(one == other)


@lru_cache(maxsize=1024)
def _shape_of(hint: Any) -> Shape | None:
    cls = get_origin(hint) or hint
    if is_typeddict(cls):
        return Shape(dict, dict, dict, fields_of(hint))
    if not isinstance(cls, type):
        return None
    for find in (
        _container,
        _of_collections,
        _named_tuple,
        _moment,
        _member,
        _struct,
        _model,
        _fields,
    ):
        if (shape := find(cls, hint)) is not None:
            return shape
    return None


def _container(cls: Any, hint: Any) -> Shape | None:
    args = get_args(hint) or (Any, Any)
    if cls in (dict, abc.Mapping, abc.MutableMapping):
        # Not by its keys, which need not be text.
        return Shape(dict, lambda value: list(value.items()), dict, each=GenericAlias(tuple, args))
    if cls is tuple:
        if args[1:] == (...,) or not get_args(hint):
            return Shape(tuple, list, tuple, each=args[0])
        return Shape(tuple, list, tuple, dict(enumerate(args)))
    made = _CONTAINERS.get(cls)
    return None if made is None else Shape(made, list, made, each=args[0])


def _of_collections(cls: Any, hint: Any) -> Shape | None:
    args = get_args(hint) or (Any, Any)
    if cls is OrderedDict:
        return Shape(cls, lambda value: list(value.items()), cls, each=GenericAlias(tuple, args))
    if cls is Counter:
        each = GenericAlias(tuple, (args[0], int))
        return Shape(
            cls, lambda value: list(value.items()), lambda items: cls(dict(items)), each=each
        )
    if cls is deque:
        return Shape(
            cls,
            lambda value: {"items": list(value), "maxlen": value.maxlen},
            lambda parts: cls(parts["items"], parts["maxlen"]),
            {"items": GenericAlias(list, args[:1])},
        )
    if cls is defaultdict:

        def take(value: Any) -> Parts:
            own = value.default_factory
            factory = next((name for made, name in _FACTORIES.items() if made is own), own)
            return {"factory": factory, "items": dict(value)}

        def make(parts: dict[str, Any]) -> Any:
            factory = next(made for made, name in _FACTORIES.items() if name == parts["factory"])
            return cls(factory, parts["items"])

        return Shape(cls, take, make, {"items": GenericAlias(dict, args)})
    return None


def _named_tuple(cls: Any, hint: Any) -> Shape | None:
    if not issubclass(cls, tuple) or not hasattr(cls, "_fields"):
        return None

    def make(parts: dict[str, Any]) -> Any:
        return cls._make(parts[name] for name in cls._fields)

    return Shape(cls, lambda value: value._asdict(), make, fields_of(hint))


def _moment(cls: Any, hint: Any) -> Shape | None:
    """A time, with what ISO 8601 has no form for: the zone, not only its offset, and `fold`."""
    if cls not in (datetime, time):
        return None

    def take(value: Any) -> Parts:
        zone = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else None
        return {
            "local": value.replace(tzinfo=None, fold=0).isoformat(),
            "fold": value.fold,
            "zone": zone,
            "offset": value.utcoffset() if zone is None else None,
        }

    def make(parts: dict[str, Any]) -> Any:
        zone: tzinfo | None = None
        if parts["zone"] is not None:
            zone = ZoneInfo(parts["zone"])
        elif parts["offset"] is not None:
            zone = timezone(parts["offset"])
        return cls.fromisoformat(parts["local"]).replace(tzinfo=zone, fold=parts["fold"])

    return Shape(cls, take, make, {"offset": timedelta | None})


def _member(cls: Any, hint: Any) -> Shape | None:
    if not issubclass(cls, enum.Enum):
        return None
    if issubclass(cls, enum.Flag):
        return Shape(cls, lambda flags: {"value": flags.value}, lambda parts: cls(parts["value"]))
    return Shape(cls, lambda member: {"name": member.name}, lambda parts: cls[parts["name"]])


def _struct(cls: Any, hint: Any) -> Shape | None:
    if not issubclass(cls, msgspec.Struct):
        return None

    names = cls.__struct_fields__
    silent = _without_post_init(cls)

    def take(value: Any) -> Parts:
        parts = {name: getattr(value, name) for name in names} | _lasting(value)
        return {name: part for name, part in parts.items() if part is not msgspec.UNSET}

    def make(parts: dict[str, Any]) -> Any:
        made = silent(**{name: parts.get(name, msgspec.UNSET) for name in names})
        if silent is not cls:
            _CLASS.__set__(made, cls)
        if len(own := parts.keys() - set(names)):
            made.__dict__.update({name: parts[name] for name in own})
        return made

    return Shape(cls, take, make, fields_of(hint))


def _without_post_init(cls: Any) -> Any:
    """A struct can be made by its class alone, which always calls that."""
    if not hasattr(cls, "__post_init__"):
        return cls
    return type(cls)(cls.__name__, (cls,), {"__post_init__": lambda _: None})


def _model(cls: Any, hint: Any) -> Shape | None:
    """One of pydantic's, if that is there. It pickles itself by these attributes."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is None or not issubclass(cls, pydantic.BaseModel):
        return None
    public = ("__pydantic_fields_set__", "__pydantic_extra__")
    private = "__pydantic_private__"

    def take(value: Any) -> Parts:
        parts = {**_lasting(value), **(getattr(value, private) or {})}
        return parts | {name: getattr(value, name) for name in public}

    def make(parts: dict[str, Any]) -> Any:
        fields = dict(parts)
        state: dict[str, Any] = {name: fields.pop(name) for name in public}
        hidden = {n: fields.pop(n) for n in cls.__private_attributes__ if n in fields}
        state[private] = hidden if cls.__private_attributes__ else None
        made = cls.__new__(cls)
        made.__setstate__({**state, "__dict__": fields})
        return made

    fields = {name: field.rebuild_annotation() for name, field in cls.model_fields.items()}
    hints = {**fields_of(cls), **fields, public[0]: set[str]}
    return Shape(cls, take, make, hints, hidden=public)


def _fields(cls: Any, hint: Any) -> Shape | None:
    """A dataclass, or a class that attrs has made."""
    if dataclasses.is_dataclass(cls):
        names = [field.name for field in dataclasses.fields(cls)]
    elif hasattr(cls, "__attrs_attrs__"):
        names = [field.name for field in cls.__attrs_attrs__]
    else:
        return None

    def take(value: Any) -> Parts:
        fields = {name: getattr(value, name) for name in names if hasattr(value, name)}
        # Of attrs: not the hash, which another process would have another one of.
        unknown = dict.fromkeys({_ATTRS_HASH} if hasattr(value, _ATTRS_HASH) else ())
        return fields | _lasting(value) | unknown

    def make(parts: dict[str, Any]) -> Any:
        made = object.__new__(cls)
        for name, part in parts.items():
            object.__setattr__(made, name, part)  # also where it is frozen
        return made

    return Shape(cls, take, make, fields_of(hint))


def _lasting(value: Any) -> dict[str, Any]:
    """The attributes of an object, without those that it makes anew when they are missing."""
    return {
        name: part
        for name, part in getattr(value, "__dict__", {}).items()
        if not isinstance(getattr(type(value), name, None), cached_property)
    }
