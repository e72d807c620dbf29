"""Who may cancel a job from a page: that of the app, and those that `trusted_origins` names."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quart import Quart
from quart_cors import cors

from asyncjobs import Jobs, QuartJobs
from asyncjobs.errors import ConfigurationError
from asyncjobs.settings import Settings
from asyncjobs.web.http.cross_site import foreign_word

HOST = "shop.example:8000"
OWN = "http://shop.example:8000"
FRIEND = "https://friend.example"

#: What a request says of its page, by Sec-Fetch-Site and Origin, and whether that may cancel: where
#: nobody else is trusted, and where FRIEND is.
PAGES: dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[bool, bool]] = {
    # A client that is no browser says nothing.
    ((), ()): (True, True),
    # A browser's word goes first, which no page can change.
    (("same-origin",), ()): (True, True),
    (("none",), ()): (True, True),
    (("same-origin",), ("https://evil.example",)): (True, True),
    (("same-site",), ()): (False, False),
    (("cross-site",), ()): (False, False),
    (("cross-site",), (OWN,)): (False, False),
    (("same-origin", "cross-site"), ()): (False, False),
    (("",), ()): (False, False),
    (("\xff",), ()): (False, False),
    (("cross-site",), (FRIEND,)): (False, True),
    (("same-site",), (FRIEND,)): (False, True),
    (("junk",), (FRIEND,)): (False, True),
    (("cross-site",), (FRIEND, "https://evil.example")): (False, False),
    (("cross-site",), ("null",)): (False, False),
    # Where a browser says nothing of that, its Origin has to do.
    ((), (OWN,)): (True, True),
    ((), ("HTTP://SHOP.example:8000",)): (True, True),
    ((), ("https://shop.example:8000",)): (True, True),  # a proxy may have ended the TLS
    ((), ("http://shop.example",)): (False, False),
    ((), ("http://shop.example:8001",)): (False, False),
    ((), ("http://shop.example.evil.example:8000",)): (False, False),
    ((), (FRIEND,)): (False, True),
    ((), ("https://friend.example:443",)): (False, True),
    ((), ("HTTPS://Friend.Example",)): (False, True),
    ((), ("http://friend.example",)): (False, False),
    ((), ("https://friend.example:444",)): (False, False),
    ((), ("https://friend.example.evil.example",)): (False, False),
    ((), (OWN, FRIEND)): (False, True),
    ((), (OWN, "https://evil.example")): (False, False),
    # An Origin that cannot be read is a foreign one.
    ((), ("null",)): (False, False),
    ((), ("",)): (False, False),
    ((), ("http://[",)): (False, False),
    ((), ("http://[x]",)): (False, False),
    ((), ("http://]",)): (False, False),
    ((), ("http://",)): (False, False),
    ((), ("http://shop.example:",)): (False, False),
    ((), ("http://shop.example:0",)): (False, False),
    ((), ("http://shop.example:x",)): (False, False),
    ((), ("http://shop.example:8000:8000",)): (False, False),
    ((), ("http://shop.example:99999999999999999999",)): (False, False),
    ((), ("http://me@shop.example:8000",)): (False, False),
    ((), ("http://shop.example:8000/x",)): (False, False),
    ((), ("http://shop.example:8000?x",)): (False, False),
    ((), ("http://shop.example:8000\\@evil.example",)): (False, False),
    ((), ("http://shop.example:8000 http://evil.example",)): (False, False),
    ((), ("shop.example:8000",)): (False, False),
    ((), ("//shop.example:8000",)): (False, False),
    ((), ("http://\xffshop.example:8000",)): (False, False),
    ((), ("http://\uff41.example",)): (False, False),
    (("cross-site",), ("http://[",)): (False, False),
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: ascii(page)[:80])
@pytest.mark.parametrize("trusted", [False, True], ids=["nobody", "a friend"])
def test_who_may_cancel(page: tuple[tuple[str, ...], tuple[str, ...]], trusted: bool) -> None:
    """Pages of the request's own host may, and those of the trusted origins, whatever the browser
    calls their site; nobody else's, and least of all one whose Origin cannot be read."""
    settings = Settings(trusted_origins=[FRIEND] if trusted else [])
    assert (foreign_word(*page, HOST, settings.trusted_origins) is None) == PAGES[page][trusted]


@pytest.mark.parametrize(
    ("host", "origin", "own"),
    [
        ("shop.example", "https://shop.example", True),
        ("shop.example", "http://shop.example", True),
        ("shop.example:443", "https://shop.example", True),  # nginx's $host:$server_port
        ("shop.example:80", "http://shop.example", True),
        ("shop.example:80", "https://shop.example", False),
        ("shop.example", "https://shop.example:8443", False),  # nginx's $host
        ("127.0.0.1:8000", "https://shop.example", False),  # nginx's $proxy_host, its default
        ("[::1]:8000", "http://[::1]:8000", True),
        ("[::1]", "http://[::1]", True),
        ("", "null", False),
        ("", "http://", False),
        ("me@shop.example", "http://shop.example", False),
        ("abcdef", "chrome-extension://abcdef", True),
        ("abcdef:80", "chrome-extension://abcdef", False),
    ],
)
def test_what_the_own_host_is(host: str, origin: str, own: bool) -> None:
    """Host and port of the Origin are those of the request's `Host`; a port that is not written is
    that of the Origin's scheme."""
    assert (foreign_word([], [origin], host, ()) is None) == own


@given(
    st.lists(st.text(st.characters(max_codepoint=255)), max_size=2),
    st.lists(st.text(st.characters(max_codepoint=255)) | st.text("htps:/[]@.0x"), max_size=2),
    st.text(st.characters(max_codepoint=255)),
)
def test_no_word_of_a_page_is_an_error(sites: list[str], origins: list[str], host: str) -> None:
    """Whatever the headers say, it is decided."""
    assert foreign_word(sites, origins, host, ()) is None or sites or origins


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("https://shop.example", "https://shop.example"),
        ("HTTPS://Shop.Example:443", "https://shop.example"),
        ("http://localhost:5173", "http://localhost:5173"),
        ("http://[::1]:80", "http://[::1]"),
        ("moz-extension://3c8f-11", "moz-extension://3c8f-11"),
    ],
)
def test_an_origin_in_the_settings(written: str, kept: str) -> None:
    """It is kept as browsers write it."""
    assert Settings(trusted_origins=[written]).trusted_origins == {kept}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["*"], r"must name each origin: with '\*' every page on the web could cancel"),
        (["https://*.shop.example"], r"must have origins, .* 'https://\*.shop.example' is none"),
        (["https://shop.example/"], "with no path .* 'https://shop.example/' is none"),
        (["https://shop.example/app"], "with no path"),
        (["shop.example"], "must have origins, such as 'https://shop.example'"),
        (["null"], "'null' is none"),
        ([""], "'' is none"),
        ([5], "5 is none"),
        ([None], "None is none"),
        (["http://["], "must have origins"),
        (["https://me@shop.example"], "must have origins"),
        ("https://shop.example", "'trusted_origins' must be list or tuple or set or frozenset"),
    ],
)
def test_what_is_no_origin_in_the_settings(value: Any, message: str) -> None:
    """It is an error that says what to write, where it was said; a star is refused with the
    reason."""
    with pytest.raises(ConfigurationError, match=message):
        Jobs(store="memory:", trusted_origins=value)


async def test_the_setting_in_the_configuration() -> None:
    """An error names the variable, and that a list is JSON."""
    app = Quart("origins")
    QuartJobs(app, store="memory:")
    app.config["QUART_JOBS_TRUSTED_ORIGINS"] = ["*"]
    with pytest.raises(ConfigurationError, match=r"QUART_JOBS_TRUSTED_ORIGINS.* a list is JSON"):
        await app.startup()


@pytest.mark.parametrize("at", ["the poll URL", "the status URL"])
@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Origin": FRIEND, "Sec-Fetch-Site": "cross-site"}, True),
        ({"Origin": "https://shop.example:8443", "Host": "shop.example"}, True),
        ({"Origin": "https://shop.example:8443", "Host": "127.0.0.1:8000"}, True),
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": "https://evil.example", "Host": "shop.example"}, False),
    ],
)
async def test_a_page_that_may_cancel(headers: dict[str, str], allowed: bool, at: str) -> None:
    """A page that CORS allows cancels jobs once the setting names it, and so does the app's own
    where the proxy changes `Host`. All others are told what was compared, and the way out."""
    app = cors(Quart("origins"), allow_origin=[FRIEND], allow_methods=["GET", "DELETE"])
    trusted = [FRIEND, "https://shop.example:8443"]
    jobs = QuartJobs(app, store="memory:", trusted_origins=trusted)

    @app.get("/wait")
    @jobs.background
    async def wait() -> None:
        await asyncio.Event().wait()

    async with app.test_app() as running:
        client = running.test_client()
        url = (await client.get("/wait")).headers["Location"]
        if at == "the status URL":
            url = f"/jobs/{url[-32:]}"
        answer = await client.delete(url, headers=headers)
        document = await answer.get_json()
        if allowed:
            assert (answer.status_code, document["id"]) == (200, url[-32:])
        else:
            assert answer.status_code == 403
            compared = headers.get("Sec-Fetch-Site", headers.get("Host"))
            for part in ("'https://evil.example'", f"'{compared}'", "'trusted_origins'"):
                assert part in document["detail"]
            assert (await client.delete(url)).status_code == 200
