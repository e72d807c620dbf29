"""Paths, as they are written in URLs."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote

#: What may stand in a path as it is (RFC 3986, section 3.3).
IN_PATH = "/:@!$&'()*+,;=~"


@lru_cache(maxsize=256)  # few routes have most of the jobs
def path_of(root_path: str, path: str) -> str:
    """A path as it is written in a URL: what was %3F or %2F there is written so again."""
    return without_authority(quote(root_path.rstrip("/") + path.rstrip("/"), IN_PATH))


def without_authority(path: str) -> str:
    """A path of which nobody takes the first part for a host (RFC 3986, section 3.3)."""
    return f"/.{path}" if path.startswith("//") else path
