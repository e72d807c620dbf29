"""What pages of other sites ask to be done to jobs, with the cookies of who looks at them.

Fetch Metadata says where a request comes from (https://www.w3.org/TR/fetch-metadata/); older
browsers, and all that have come to a page by plain HTTP, send Origin alone; clients that are no
browsers send neither.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from quart import Request

from ...errors import CrossSiteRequest
from ...given import shown
from ...origin import origin_of

_OWN_SITES = ("same-origin", "none")
_WAY_OUT = (
    "If that is a page of the app, or one that may cancel and retry jobs, name its origin in the "
    "setting 'trusted_origins'"
)


def refuse_cross_site(request: Request, trusted: Collection[str]) -> None:
    """Have no other site's page cancel or retry jobs.

    Args:
        trusted: the setting `trusted_origins`.

    Raises:
        CrossSiteRequest: it says what was compared.
    """
    headers = request.headers
    foreign = foreign_word(
        headers.getlist("Sec-Fetch-Site"), headers.getlist("Origin"), request.host, trusted
    )
    if foreign is not None:
        raise CrossSiteRequest(
            f"jobs can be cancelled and retried from pages of their own site only. {foreign}"
        )


def foreign_word(
    sites: Sequence[str], origins: Sequence[str], host: str, trusted: Collection[str]
) -> str | None:
    """What tells that a request comes from a page of another site; None if nothing does.

    Args:
        sites: all that the request has of ``Sec-Fetch-Site``.
        origins: likewise of ``Origin``.
        host: whom it asks.
        trusted: origins that may ask, as `Origin` writes them.
    """
    strange = [origin for origin in origins if not _is_trusted(origin, trusted)]
    if sites:
        site = next((site for site in sites if site not in _OWN_SITES), None)
        if site is None or (origins and not strange):
            return None
        page = f"a page of {shown(strange[0])} (Origin)" if strange else "a page"
        return f"The browser says {shown(site)} (Sec-Fetch-Site) of {page}. {_WAY_OUT}."
    for origin in strange:
        if not _is_own(origin, host):
            return (
                f"A page of {shown(origin)} (Origin) asks, and what it asks is "
                f"{shown(host)} (Host). {_WAY_OUT}, or have the proxy pass on Host with its port."
            )
    return None


def _is_trusted(written: str, trusted: Collection[str]) -> bool:
    origin = origin_of(written)
    return origin is not None and str(origin) in trusted


def _is_own(written: str, host: str) -> bool:
    # A request without a Host has no page of its own, least of all one whose Origin is "null".
    # The schemes are not compared: where a proxy ends TLS, we do not know that of the page.
    origin = origin_of(written)
    return origin is not None and origin.is_at(host)
