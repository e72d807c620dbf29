"""Which routes of an app and of ours would take requests from each other: decided from their rules.

An id has 32 hex digits, and so may have whatever else an app calls by a name of its own choice:
``/docs/<doc_id>`` beside the poll route ``/docs/<id>`` would never see some of its documents. None
falls through to the other: it would skip the guards of the one that it came to first.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter, Map, MapAdapter, RequestRedirect, Rule

#: The id in our rules.
ID = re.compile(r"<asyncjobs_id:\w+>")

# As ids are: one begins with a letter and one with a digit, and neither is a number.
_IDS = "c3a5e7f90b1d4f608123456789abcdef", "4b1d6f08a2c34e5f9a7b0c1d2e3f4a5b"
# As werkzeug reads them.
_VARIABLE = re.compile(r"<(?:[a-zA-Z_]\w*(?:\(.*?\))?:)?[a-zA-Z_]\w*>")

Head = tuple[str, str, str]


def collisions(
    ours: Iterable[Rule], others: Iterable[Rule], converters: Mapping[str, type[BaseConverter]]
) -> Iterator[tuple[Rule, Rule]]:
    """Each rule of `ours`, with each of `others` that matches the URL of some job as well.

    Only one that is the same up to the id, as far as it is no variable: an app knows that what is
    further up, such as ``/<path:page>``, gives way to others.

    Args:
        converters: of the app's map.
    """
    plain = {name: _by_regex(converter) for name, converter in converters.items()}
    by_head: dict[Head, list[Rule]] = defaultdict(list)
    for our in ours:
        before, _ = ID.split(our.rule)
        by_head[_head(our, before)].append(our)
    for other in others:
        if other.build_only or other.websocket:
            continue
        for before, tail in _cuts(other):
            for our in by_head.get(_head(other, before), ()):
                _, after = ID.split(our.rule)
                if _share_methods(our, other) and _fits(tail, after, other, plain):
                    yield our, other


def _head(rule: Rule, before: str) -> Head:
    """Where the URLs of a rule begin, whatever its variables are."""
    parts = (rule.host, rule.subdomain, re.sub("/{2,}", "/", before))
    host, subdomain, path = (_VARIABLE.sub("<>", part or "") for part in parts)
    return host, subdomain, path


def _cuts(rule: Rule) -> Iterator[tuple[str, str]]:
    """A rule in two, behind each of its slashes; some converters have slashes as well."""
    masked = _VARIABLE.sub(lambda variable: "-" * len(variable[0]), rule.rule)
    for slash in re.finditer("/", masked):
        yield rule.rule[: slash.end()], rule.rule[slash.end() :]


def _share_methods(our: Rule, other: Rule) -> bool:
    methods = our.methods or set()
    if getattr(other, "provide_automatic_options", False):
        methods = methods - {"OPTIONS"}  # which says the same here and there
    return other.methods is None or not methods.isdisjoint(other.methods)


def _fits(
    tail: str, after: str, other: Rule, converters: Mapping[str, type[BaseConverter]]
) -> bool:
    """Whether what a rule has behind the head matches an id, and what we have `after` it."""
    rule = Rule(f"/{tail}", endpoint="other", strict_slashes=other.strict_slashes)
    urls = Map([rule], converters=converters).bind("")
    return any(_matches(urls, f"/{job_id}{after}") for job_id in _IDS)


def _matches(urls: MapAdapter, path: str) -> bool:
    try:
        urls.match(path)
    except NotFound:
        return False
    except RequestRedirect:
        return True  # to the same with a slash
    return True


def _by_regex(converter: type[BaseConverter]) -> type[BaseConverter]:
    """A converter that tells by its regular expression alone what it matches.

    What it says of one id, or asks somebody else about it, is nothing to go by for all others.
    """
    return type(converter.__name__, (converter,), {"to_python": lambda self, value: value})
