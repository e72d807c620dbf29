"""``Link`` (RFC 8288): the links in it, what they are to the page, and where they lead.

What is said otherwise is put in its place, and all the rest stays as it was written: werkzeug has
no parser of links, and that of httpx makes dicts of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

_LINK = re.compile(r'<([^>]*)>((?:[^,"]|"(?:[^"\\]|\\.)*"?)*)', re.DOTALL)
_PARAMETER = re.compile(
    r'(;[ \t]*([^=;,"\s]+)[ \t]*)(?:(=[ \t]*)("(?:[^"\\]|\\.)*"|[^;,"\s]*))?', re.DOTALL
)


@lru_cache(maxsize=256)  # handlers say the same with each result
def without_relation(relation: str, links: str) -> str:
    """One line of links, and none in it that is of this relation to the page."""
    if relation not in links.lower():
        return links
    found = (_without(relation, link[0].strip(" \t")) for link in _LINK.finditer(links))
    return ", ".join(link for link in found if link)


def with_references(links: str, said: Callable[[str], str]) -> str:
    """Links whose targets, and what they are links of, are what `said` makes of them."""

    def link_said(link: re.Match[str]) -> str:
        return f"<{said(link[1])}>{_PARAMETER.sub(anchor_said, link[2])}"

    def anchor_said(parameter: re.Match[str]) -> str:
        name, value = parameter[2].lower(), parameter[4] or ""
        if name != "anchor" or not value.startswith('"') or "\\" in value:
            return parameter[0]
        return f'{parameter[1]}{parameter[3]}"{said(value[1:-1])}"'

    return _LINK.sub(link_said, links)


def _without(relation: str, link: str) -> str:
    """A link without that relation; empty if it has no other one."""
    for parameter in _PARAMETER.finditer(link, link.index(">")):
        if parameter[2].lower() == "rel" and parameter[4] is not None:  # the first one counts
            relations = parameter[4].strip('"').split()
            others = [each for each in relations if each.lower() != relation]
            if len(others) == len(relations):
                return link
            start, end = parameter.span(4)
            return f'{link[:start]}"{" ".join(others)}"{link[end:]}' if others else ""
    return link
