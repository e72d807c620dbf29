"""No credential in a header is stored: which names are taken for one, and what the settings say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from quart import Quart, request
from werkzeug.sansio.utils import get_host

from asyncjobs import Jobs, QuartJobs
from asyncjobs.errors import ConfigurationError
from asyncjobs.settings import Settings
from asyncjobs.web.http.headers import storable_request_headers
from conftest import Serve
from server import result, submit

DROPPED = {
    "who it is": """
        Authorization Proxy-Authorization X-Authorization X-Forwarded-Authorization X-Authorisation
        X-Original-Authorization X-Emby-Authorization X-Ms-Authorization-Auxiliary
        Authentication-Info Proxy-Authenticate X-Authenticated-User X-Goog-Authenticated-User-Email
        X-Goog-Iam-Authorization-Token Cf-Access-Authenticated-User-Email X-Auth X-Auth-Key
        X-Auth-Email X-Auth-Token X-AuthToken X-Auth-Request-Access-Token OAuth X-OAuth-Scopes
        X-Sentry-Auth X-Registry-Auth X-ZUMO-AUTH X-WSSE
    """,
    "cookies and sessions": """
        Cookie Cookie2 X-Cookie X-Session-Id X-SessionId Session Sessionid PHPSESSID JSESSIONID
        X-Sid X-Metabase-Session X-Transmission-Session-Id X-CSRF-Token X-CSRFToken X-XSRF-TOKEN
        CSRF RequestVerificationToken __RequestVerificationToken Jenkins-Crumb X-WP-Nonce X-Nonce
        X-Sess MYSAPSSO2 iPlanetDirectoryPro
    """,
    "tokens": """
        X-Token Token X-Access-Token X-AccessToken Access_Token X-User-Token X-Vault-Token
        PRIVATE-TOKEN JOB-TOKEN DEPLOY-TOKEN X-Gitlab-Token X-Consul-Token X-Nomad-Token
        X-Plex-Token X-Figma-Token X-TrackerToken X-MediaBrowser-Token X-Postmark-Server-Token
        X-Shopify-Access-Token X-Parse-Session-Token X-Amz-Security-Token
        X-MS-TOKEN-AAD-ACCESS-TOKEN X-MS-TOKEN-AAD-ID-TOKEN X-Telegram-Bot-Api-Secret-Token
        Sec-Token-Binding aeg-sas-token X-Bearer X-Tkn X-Paseto Macaroon Grpc-Metadata-Macaroon
        X-Firebase-AppCheck X-NTLM X-Kerberos-Ticket X-Krb5 OTCSTicket X-Ticket
    """,
    "keys": """
        X-Api-Key X-ApiKey Api_Key Apikey Api-Key X-API-KEYS X-CMC_PRO_API_KEY X-MBX-APIKEY X-Key
        X-Access-Key X-Access-Key-Id X-AccessKey Ocp-Apim-Subscription-Key X-Functions-Key
        aeg-sas-key X-Goog-Api-Key X-Goog-Encryption-Key X-Ms-Encryption-Key X-RapidAPI-Key
        X-Mashape-Key X-Algolia-API-Key X-Redmine-API-Key X-Meili-API-Key X-Typesense-Api-Key
        X-Parse-REST-API-Key X-Parse-Master-Key X-Consumer-Key X-Encryption-Key X-Passkey
        CB-ACCESS-KEY X-Amz-Server-Side-Encryption-Customer-Key Sec-WebSocket-Key X-ApiKeyV2
        X-ApiKeyValue X-AccessKeyV4 X-Keypair X-Key-Pair X-JFrog-Art-Api X-ZUMO-MASTER
        X-Event-Key-Secret
    """,
    "secrets": """
        X-Client-Secret X-Api-Secret Cf-Access-Client-Secret X-RapidAPI-Proxy-Secret
        X-Credential-Identifier X-Credentials X-Creds X-Password X-Passwd X-Passphrase X-Passcode
        X-Pass X-User-Pass X-UserPass X-Pwd KC-API-PASSPHRASE X-PIN X-Otp X-TOTP X-GitHub-OTP
        X-MFA-Code X-2FA X-SSO AdminPwd X-PwdHash X-Dbpass SmsOtp X-PSK X-Verification-Code
        X-Security-Code X-Recovery-Code X-Invite-Code X-Verify-Code X-Origin-Verify
        X-Vercel-Protection-Bypass
    """,
    "tokens with claims": """
        X-JWT JWT X-JWT-Payload X-JWS X-JWK DPoP DPoP-Nonce X-OIDC X-SAML-Response
        Cf-Access-Jwt-Assertion X-Goog-IAP-JWT-Assertion X-Client-Assertion X-Amzn-Oidc-Data
        X-Amzn-Oidc-Identity X-Amzn-Oidc-Accesstoken
    """,
    "certificates of clients": """
        Client-Cert Client-Cert-Chain X-Client-Cert X-SSL-Client-Cert X-SSL-CERT
        X-Client-Certificate X-ARR-ClientCert X-Forwarded-Client-Cert X-Forwarded-Tls-Client-Cert
        X-Amzn-Mtls-Clientcert X-Amzn-Mtls-Clientcert-Leaf SSL-Client-Cert SSL-Client-Verify
        SSL-Client-S-DN SSL_CLIENT_CERT X-SSL-Client-Fingerprint X-ClientCertPem
    """,
    "signatures": """
        Signature Signature-Input X-Signature X-Signature-Ed25519 X-Hub-Signature
        X-Hub-Signature-256 Stripe-Signature X-Slack-Signature X-Twilio-Signature X-Line-Signature
        X-Zm-Signature Svix-Signature Webhook-Signature Paypal-Transmission-Sig
        X-Shopify-Hmac-Sha256 X-Square-Hmacsha256-Signature X-Ca-Signature X-Sign X-BAPI-SIGN
        OK-ACCESS-SIGN API-Sign X-Signed-Request ApiSig X-Trello-Webhook
    """,
}

KEPT = {
    "of HTTP": """
        Accept Accept-Charset Accept-Encoding Accept-Language Accept-Signature Cache-Control
        Content-Type Content-Encoding Content-Language Content-Digest Date Digest DNT Forwarded
        From Host Max-Forwards Origin Pragma Prefer Priority Referer User-Agent Via Warning
        Sec-CH-UA Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User Sec-GPC
        Access-Control-Request-Method Access-Control-Request-Headers Upgrade-Insecure-Requests
    """,
    "words that are in others, too": """
        Idempotency-Key X-Idempotency-Key X-Cache-Key Surrogate-Key Surrogate-Keys X-Partition-Key
        X-Routing-Key X-Sort-Key X-Keyword X-Keywords X-Keyboard X-Monkey X-Turkey X-Author
        X-Authored-By X-Co-Author Authority X-Authority X-Design X-Designer X-Assigned-To X-Signal
        X-Signup-Source X-Resign X-Compass X-Bypass X-Passenger-Count X-Passenger-App-Env X-Passage
        X-Passport-Country X-Concert-Id X-Certainty X-Certified X-Footprint X-Otpusk X-Spin
        X-Pinned X-Mac X-Credits X-Secretary X-Inside X-Side X-Assessment X-Event-Key
        ce-partitionkey X-Ms-Documentdb-Partitionkey Kafka-Key Message-Key Object-Key
        Translation-Key Public-Key Key-Id Cookie-Consent X-Bypass-Cache X-Announce X-Breadcrumb
        X-Ticket-Id X-Ticket-Number X-Country-Code X-Verify X-Webhook X-Master
    """,
    "of proxies and webhooks": """
        X-Request-Id X-Correlation-Id X-Amzn-Trace-Id X-Amz-Date X-Amz-Cf-Id X-B3-TraceId
        Traceparent Tracestate Baggage X-Cloud-Trace-Context CF-Ray CF-Connecting-IP CF-IPCountry
        True-Client-IP X-Forwarded-For X-Forwarded-Host X-Forwarded-Port X-Forwarded-Proto
        X-Forwarded-Prefix X-Real-IP X-Original-URL X-Requested-With X-HTTP-Method-Override
        X-Github-Event X-Github-Delivery X-Shopify-Topic HX-Request HX-Current-URL HX-Target
        Last-Event-ID X-Tenant X-Client-Id X-Account-Id X-Device-Id X-Parse-Application-Id
        X-Algolia-Application-Id
    """,
    "whose request a proxy says it is": """
        Remote-User X-Remote-User X-Forwarded-User X-Forwarded-Email X-User-Id
        X-MS-CLIENT-PRINCIPAL X-MS-CLIENT-PRINCIPAL-NAME X-Consumer-ID X-Consumer-Username
    """,
}


def stored(name: str, value: str = "v", **options: Any) -> str | None:
    """What a job keeps of a header."""
    pairs = [(name.lower().encode(), value.encode())]
    kept = dict(storable_request_headers(pairs, b"", Settings(**options)))
    content = kept.get(name.lower().encode())
    return None if content is None else content.decode()


@pytest.mark.parametrize("kind", DROPPED)
def test_a_name_that_looks_like_a_credential(kind: str) -> None:
    """It is not stored, unless `keep_headers` names it."""
    names = DROPPED[kind].split()
    assert [name for name in names if stored(name) is not None] == []
    assert [name for name in names if stored(name, keep_headers=[name]) != "v"] == []


@pytest.mark.parametrize("kind", KEPT)
def test_a_name_that_looks_like_no_credential(kind: str) -> None:
    """It is stored: also who a proxy says that the user is, which proves nothing to anybody who
    reads it. `drop_headers` says otherwise."""
    names = KEPT[kind].split()
    assert [name for name in names if stored(name) != "v"] == []
    assert [name for name in names if stored(name, drop_headers=[name.upper()]) is not None] == []


def test_no_credential_gets_to_the_disk(serve: Serve) -> None:
    """None of these headers is in a job that came over HTTP, nor anywhere in the store's files;
    the others are in both."""
    server = serve("apps.replay:app")
    names = [name for kind in DROPPED.values() for name in kind.split()] + ["X-Kept"]
    headers = {name: f"of-{name.lower()}-hush" for name in names}
    headers["Referer"] = "https://me:hush@shop.example/cart?code=hush#hush"
    with server.client() as client:
        seen = result(client, submit(client, "POST", "/job/seen", headers=headers)).json()

    values = [value for _, value in seen["headers"]]
    assert [value for value in values if "hush" in value] == ["of-x-kept-hush"]
    assert "https://shop.example/cart" in values
    files = [file for file in server.folder.glob("jobs.db*") if file.is_file()]
    content = b"".join(file.read_bytes() for file in files)
    assert content.count(b"hush") == content.count(b"of-x-kept-hush") > 0


PAGES = """
    Referer HX-Current-URL Turbolinks-Referrer Ping-From Ping-To Next-Url X-Original-URL
    X-Original-URI X-Original-Path X-Rewrite-URL X-Request-URI X-Forwarded-Uri X-Forwarded-Url
    X-Envoy-Original-Path X-WAWS-Unencoded-URL
"""


@pytest.mark.parametrize("name", PAGES.split())
@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://shop.example/a/b?reset=123", "https://shop.example/a/b"),
        ("https://shop.example/a#access_token=123", "https://shop.example/a"),
        ("https://shop.example?a#b", "https://shop.example"),
        ("https://me:pw@shop.example:81/a", "https://shop.example:81/a"),
        ("https://me:p@w@shop.example", "https://shop.example"),
        ("//me@shop.example/x?y", "//shop.example/x"),
        ("/a/@b?c", "/a/@b"),
        ("https://shop.example/@me", "https://shop.example/@me"),
        ("about:blank", "about:blank"),
        ("http://[", "http://["),
        ("", ""),
    ],
)
def test_where_a_client_comes_from(name: str, url: str, kept: str) -> None:
    """The address of the page, and that which a proxy was asked for, is stored without what may be
    secret in it: query, fragment, user and password; whole only if `keep_headers` names it."""
    assert stored(name, url) == kept
    assert stored(name, url, keep_headers=[name]) == url


@pytest.mark.parametrize(
    ("host", "kept"),
    [
        ("shop.example:81", "shop.example:81"),
        ("[::1]:81", "[::1]:81"),
        ("my_service:81", "my_service:81"),
        ("", ""),
        ("me:pw@shop.example", ""),
        ("me:pw@", ""),
        ("shop.example?code=1", ""),
        ("shop.example/a", ""),
        ("shop.example#1", ""),
        ("http://shop.example", ""),
    ],
)
def test_a_host_that_is_none(host: str, kept: str) -> None:
    """What is no host, as it has a user and a password in it, or a path or a query, is stored as
    none at all: of a live request werkzeug takes no host from that either, and what is left of it
    would be one that nobody has checked."""
    assert stored("Host", host) == kept
    assert stored("Host", host, keep_headers=["Host"]) == host
    if get_host("http", "me@shop.example") == "":  # an older werkzeug takes anything for a host
        assert get_host("http", host) == get_host("http", kept)


@pytest.mark.parametrize("name", [b"Authorization", b"COOKIE", b"Connection", b"X-Tenant"])
def test_a_name_that_is_not_in_lower_case(name: bytes) -> None:
    """What an ASGI middleware has added under a name with capitals is judged all the same."""
    pairs = [(name, b"hush"), (b"X-Seen", b"v"), (b"Content-Length", b"3"), (b"Host", b"a@b")]
    kept = storable_request_headers(pairs, b"12", Settings(drop_headers=["x-tenant"]))
    assert kept == ((b"x-seen", b"v"), (b"content-length", b"2"), (b"host", b""))


def test_what_belongs_to_a_condition_may_be_kept() -> None:
    """`keep_headers` brings back `If-Match` and its like too, for handlers that look at them."""
    assert stored("If-Match") is None
    assert stored("If-Match", keep_headers=["If-Match"]) == "v"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop_headers": "X-Tenant"}, "'drop_headers' must be list or tuple or set or frozenset"),
        ({"keep_headers": None}, "'keep_headers' must be list or tuple or set or frozenset, not N"),
        ({"keep_headers": {"X-Otp": True}}, "'keep_headers' must be list or"),
        ({"keep_headers": [b"X-Otp"]}, r"'keep_headers' must have names .*: b'X-Otp' is none"),
        ({"drop_headers": ["X-Tenant", 5]}, "'drop_headers' must have names of headers, such as"),
        ({"drop_headers": [""]}, "'drop_headers' must have names .*: '' is none"),
        ({"drop_headers": ["X-Tenant: 5"]}, "'X-Tenant: 5' is none"),
        ({"keep_headers": ["X-Otp\n"]}, r"'X-Otp\\n' is none"),
        (
            {"drop_headers": ["X-OTP", "X-B"], "keep_headers": ("x-otp",)},
            "drop_headers and keep_headers both name x-otp: take it out of one",
        ),
    ],
)
def test_names_that_are_none(options: dict[str, Any], message: str) -> None:
    """What is no list of names of headers is an error that says so, and so is a name in both."""
    with pytest.raises(ConfigurationError, match=message):
        Jobs(store="memory:", **options)


@pytest.mark.parametrize("name", ["Connection", "Transfer-Encoding", "TE", "upgrade"])
async def test_what_belongs_to_the_connection_cannot_be_kept(name: str) -> None:
    """To name it in `keep_headers` is an error at start."""
    app = Quart("keeping")
    QuartJobs(app, store="memory:", keep_headers=[name])
    with pytest.raises(ConfigurationError, match=f"keep_headers cannot keep {name.lower()}"):
        await app.startup()


async def test_the_length_cannot_be_dropped() -> None:
    """To name `Content-Length` in `drop_headers` is an error at start: it would have no effect."""
    app = Quart("dropping")
    QuartJobs(app, store="memory:", drop_headers=["Content-Length"])
    with pytest.raises(ConfigurationError, match="drop_headers cannot drop content-length"):
        await app.startup()


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset])
@pytest.mark.parametrize("threaded", [False, True])
async def test_the_settings_of_an_app(
    kind: type, threaded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both lists come from code or from the configuration, which may come from the environment,
    and hold for all routes: a handler finds a webhook's signature, and its job no tenant."""
    monkeypatch.setenv("QUART_QUART_JOBS_DROP_HEADERS", '["X-TENANT"]')
    app = Quart("lists")
    jobs = QuartJobs(
        app, store=f"sqlite:///{tmp_path}/jobs.db", keep_headers=kind(["Stripe-Signature"])
    )
    app.config.from_prefixed_env()

    def see() -> list[str]:
        return [
            name for name in ("Stripe-Signature", "X-Tenant", "X-Otp") if name in request.headers
        ]

    async def see_async() -> list[str]:
        return see()

    app.add_url_rule("/seen", "seen", jobs.background(see if threaded else see_async))
    async with app.test_app() as running:
        client = running.test_client()
        sent = {"Stripe-Signature": "t=1,v1=2", "X-Tenant": "acme", "X-Otp": "123456"}
        poll = (await client.get("/seen", headers=sent)).headers["Location"]
        answer = await client.get(poll, headers={"Prefer": "wait=30"})

    assert await answer.get_json() == ["Stripe-Signature"]
