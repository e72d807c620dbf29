"""What decorators above ``@jobs.background`` have added to a call: stored with the request, and
given to the view in the background."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec

from ...arguments import Callee
from ...credentials import is_credential
from ...errors import Unstorable
from ...shapes import same
from ..context import Context
from ..routing.classes import class_of, method_for
from ..routing.marks import View

_NOTHING = Context()
_WAY_OUT = ". Or move the decorator that passes it below @jobs.background, where it runs in the job"


@dataclass(frozen=True, slots=True)
class Added:
    """What a view is called with besides the variables of its URL.

    Attributes:
        without: the variables of the URL that it is not called with.
    """

    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    without: AbstractSet[str] = frozenset()

    def merged(self, view_args: Mapping[str, Any] | None) -> dict[str, Any]:
        """All keyword arguments."""
        own = {name: value for name, value in (view_args or {}).items() if name not in self.without}
        return {**own, **self.kwargs}


def context_of_call(
    callee: Callee, view_args: Mapping[str, Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Context:
    """The part of the context that says what a view was called with and is not from its URL.

    Raises:
        Unstorable: an argument cannot be stored, or looks like a credential.
    """
    own = {name for name, value in view_args.items() if _is_given(name, value, kwargs)}
    if not args and len(own) == len(kwargs) == len(view_args):
        return _NOTHING
    added = {name: value for name, value in kwargs.items() if name not in own}
    for name in [*map(callee.name_of, range(len(args))), *added]:
        if is_credential(name):
            raise Unstorable(
                f"the argument {name!r} of {callee.name!r} is not stored: by its name it is a "
                "credential. Have the decorator that passes it pass whose it is, such as the id of "
                f"a user, under another name{_WAY_OUT}"
            )
    stored = msgspec.Raw(callee.stored(args, added)) if args or added else msgspec.UNSET
    without = frozenset(name for name in view_args if name not in kwargs)
    return Context(arguments=stored, without=without)


def added_to_call(context: Context, callee: Callee) -> Added:
    """The reverse of `context_of_call`.

    Raises:
        JobUnreadable: it is damaged, or the view's annotations are others than they were.
    """
    args, kwargs = callee.given(bytes(context.arguments)) if context.arguments else ([], {})
    return Added(args, kwargs, context.without)


def callee_of(routed: View, view: View, endpoint: str, method: str) -> Callee:
    """What has the parameters that the arguments of `view` are for.

    Args:
        routed: what stands in the app.
        view: what is called.
        method: that of the request, by which a class may choose.
    """
    view_class = class_of(routed)
    if view_class is None:
        return _callee(view, endpoint, is_method=False)
    return _callee(method_for(view_class, method), endpoint, is_method=True)


def _callee(function: Any, endpoint: str, *, is_method: bool) -> Callee:
    make = _callee_again if isinstance(function, Hashable) else _new_callee
    return make(function, endpoint, is_method)


def _new_callee(function: View, endpoint: str, is_method: bool) -> Callee:
    return Callee(function, endpoint, is_method=is_method, way_out=_WAY_OUT)


_callee_again = lru_cache(maxsize=1024)(_new_callee)


def _is_given(name: str, value: Any, kwargs: Mapping[str, Any]) -> bool:
    return name in kwargs and (kwargs[name] is value or same(kwargs[name], value))
