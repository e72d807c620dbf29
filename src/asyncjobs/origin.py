"""Origins (RFC 6454): what browsers say of the page that a request comes from."""

from __future__ import annotations

import re
from typing import NamedTuple

_DEFAULT_PORTS = {"http": 80, "https": 443}
# A host as browsers write it: in ASCII, whatever it is called elsewhere.
_HOST = r"(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[1-9][0-9]{0,4}))?"
_ORIGIN = re.compile(rf"(?P<scheme>[a-z][a-z0-9+.-]*)://{_HOST}", re.IGNORECASE | re.ASCII)
_AUTHORITY = re.compile(_HOST, re.IGNORECASE | re.ASCII)


class Origin(NamedTuple):
    """Where a page is from.

    Attributes:
        port: None if none is written, and the scheme has none by default.
    """

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        is_default = self.port == _DEFAULT_PORTS.get(self.scheme)
        return f"{self.scheme}://{self.host}{'' if is_default else f':{self.port}'}"

    def is_at(self, authority: str) -> bool:
        """Whether its page is from there: a ``Host``, which does not tell the scheme."""
        match = _AUTHORITY.fullmatch(authority)
        return match is not None and self == _origin(self.scheme, match)


def origin_of(written: str) -> Origin | None:
    """An origin as it is written, or None if it is none: ``null`` for one, which is any page's."""
    match = _ORIGIN.fullmatch(written)
    return None if match is None else _origin(match["scheme"].lower(), match)


def _origin(scheme: str, match: re.Match[str]) -> Origin:
    port = _DEFAULT_PORTS.get(scheme) if match["port"] is None else int(match["port"])
    return Origin(scheme, match["host"].lower(), port)
