"""Which routes of an app and of ours would take requests from each other: decided from their rules.

An id has 32 hex digits, and so may have whatever else an app calls by a name of its own choice:
``/docs/<doc_id>`` beside the poll route ``/docs/<id>`` would never see some of its documents. None
falls through to the other: it would skip the guards of the one that it came to first.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from werkzeug.routing import Rule

from ..quart_side import converters_of

#: The id in our rules.
ID = re.compile(r"<asyncjobs_id:\w+>")

# As ids are: one begins with a letter and one with a digit, and neither is a number.
_IDS = "c3a5e7f90b1d4f608123456789abcdef", "4b1d6f08a2c34e5f9a7b0c1d2e3f4a5b"
# As werkzeug reads them.
_VARIABLE = re.compile(r"<(?:[a-zA-Z_]\w*(?:\(.*?\))?:)?(?P<name>[a-zA-Z_]\w*)>")

Head = tuple[str, str, str]


def collisions(ours: Iterable[Rule], others: Iterable[Rule]) -> Iterator[tuple[Rule, Rule]]:
    """Each rule of `ours`, with each of `others` that matches the URL of some job as well, or that
    of the list of them.

    Only one that is the same up to the id, as far as it is no variable: an app knows that what is
    further up, such as ``/<path:page>``, gives way to others.
    """
    by_head: dict[Head, list[Rule]] = defaultdict(list)
    for our in ours:
        before, *_ = ID.split(our.rule)
        by_head[_head(our, before)].append(our)
    for other in others:
        if other.build_only or other.websocket:
            continue
        for before, tail in _cuts(other):
            for our in by_head.get(_head(other, before), ()):
                _, *after = ID.split(our.rule)
                if _share_methods(our, other) and (not after or _fits(tail, after[0], other)):
                    yield our, other


def _head(rule: Rule, before: str) -> Head:
    """Where the URLs of a rule begin, whatever its variables are."""
    parts = (rule.host, rule.subdomain, re.sub("/{2,}", "/", before))
    host, subdomain, path = (_VARIABLE.sub("<>", part or "") for part in parts)
    return host, subdomain, path


def _cuts(rule: Rule) -> Iterator[tuple[str, str]]:
    """A rule in two, behind each of its slashes; some converters have slashes as well. And as a
    whole, as far as without a slash at its end there is a redirect to it at most."""
    yield rule.rule.rstrip("/"), ""
    masked = _VARIABLE.sub(lambda variable: "-" * len(variable[0]), rule.rule)
    for slash in re.finditer("/", masked):
        yield rule.rule[: slash.end()], rule.rule[slash.end() :]


def _share_methods(our: Rule, other: Rule) -> bool:
    methods = our.methods or set()
    if getattr(other, "provide_automatic_options", False):
        methods = methods - {"OPTIONS"}  # which says the same here and there
    return other.methods is None or not methods.isdisjoint(other.methods)


def _fits(tail: str, after: str, other: Rule) -> bool:
    """Whether what a rule has behind the head matches an id, and what we have `after` it.

    By the regular expressions of its converters alone: what one says of one id, or asks somebody
    else about it, is nothing to go by for all others.
    """
    pattern, end = "", 0
    for variable in _VARIABLE.finditer(tail):
        converter = converters_of(other)[variable["name"]]
        pattern += f"{re.escape(tail[end : variable.start()])}(?:{converter.regex})"
        end = variable.end()
    pattern += re.escape(tail[end:])
    if tail.endswith("/"):
        pattern += "?"  # without it there is a redirect to the same with a slash
    return any(re.fullmatch(pattern, f"{job_id}{after}") for job_id in _IDS)
