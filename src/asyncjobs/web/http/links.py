"""``Link`` (RFC 8288): the links in it, and what they are to the page."""

from __future__ import annotations

import re
from functools import lru_cache

_LINK = re.compile(r'<[^>]*>(?:[^,"]|"(?:[^"\\]|\\.)*"?)*')
_PARAMETER = re.compile(
    r';[ \t]*([^=;,"\s]+)[ \t]*(?:=[ \t]*("(?:[^"\\]|\\.)*"|[^;,"\s]*))?', re.DOTALL
)


@lru_cache(maxsize=256)  # handlers say the same with each result
def without_relation(relation: str, links: str) -> str:
    """One line of links, and none in it that is of this relation to the page."""
    if relation not in links.lower():
        return links
    found = (_without(relation, link.strip(" \t")) for link in _LINK.findall(links))
    return ", ".join(link for link in found if link)


def _without(relation: str, link: str) -> str:
    """A link without that relation; empty if it has no other one."""
    for parameter in _PARAMETER.finditer(link, link.index(">")):
        if parameter[1].lower() == "rel" and parameter[2] is not None:  # the first one counts
            relations = parameter[2].strip('"').split()
            others = [each for each in relations if each.lower() != relation]
            if len(others) == len(relations):
                return link
            start, end = parameter.span(2)
            return f'{link[:start]}"{" ".join(others)}"{link[end:]}' if others else ""
    return link
