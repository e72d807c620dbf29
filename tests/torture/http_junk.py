"""Values that nobody should send."""

from __future__ import annotations

from itertools import product

#: Origins of which none is the server's own.
ORIGINS = (
    *("http://[", "http://]", "http://[x]", "http://[::1", "http://[::1]]", "http://[v1.x]"),
    *(
        "null",
        "",
        " ",
        "/",
        "//",
        "http://",
        "https://evil.example",
        "evil.example",
        "javascript:1",
    ),
    *("http://evil.example:99999999", "http://evil.example:x", "http://a@b@c", "http://\u00e9"),
    *(
        "http://127.0.0.1",
        "http://127.0.0.1:0",
        "\xff\xfe",
        "http://\u212b".encode().decode("latin-1"),
    ),
    "http://" + "a" * 5000,
)
SITES = ("cross-site", "same-site", "", "SAME-ORIGIN ", "nonsense", "\xff", "same-origin, none")
PREFERENCES = (
    *("wait=1", "WAIT=1", 'wait="1"', "wait=1; foo=bar", "wait=1;", "wait", "wait=", "wait=-1"),
    *("wait=1e3", "wait=\u0663".encode().decode("latin-1"), "wait=\xb2", "wait=" + "9" * 5000),
    *("wait=0", "respond-async, wait=1", "wait=1, wait=2", 'x="wait=1"', '"wait=1"', "wait*=1"),
    *("wait*=UTF-8''1", "wait*=nonsense''%ff", "wait*='", "wait*=utf-16''%00", '"', "=", "=1"),
    *(",,,", ";;;", "wait=0x10", "wait=inf", "wait=nan", "wait=1_0", "wait = 1", "wait=\xff", ""),
    *('wait="', 'wait="1', 'wait="\\', "wait=1\t", ";wait=1", "wait=1,;=", "w" * 3000, "," * 3000),
)
#: Of who would rather have the result in the one request: what is a wait for sure.
WAITS = (
    "wait=5",
    "wait=20",
    "respond-async, wait=5",
    "wait=5; foo=bar",
    "WAIT=5",
    "wait=" + "9" * 50,
)
#: Headers of a submission that say it in several lines, or say something else.
SUBMISSION_PREFERENCES = (
    *((("Prefer", preference),) for preference in PREFERENCES),
    *(
        (("Prefer", wait), ("Prefer", preference))
        for wait, preference in product(
            ("wait=5", "wait=0", "respond-async"),
            ("wait=5", "wait=0", "wait=-1", '"', "respond-async"),
        )
    ),
    (("Prefer", "wait=5"), ("prefer", "wait=20"), ("PREFER", "wait=0")),
)
#: Such values for each of these, besides those that any header gets.
VALUES = {
    "Origin": ORIGINS,
    "Sec-Fetch-Site": SITES,
    "Prefer": PREFERENCES,
    "Host": (
        *("a@b", "[", "]", "[::1", "x:y", "x:99999999", "a b", "/", "?", "#", "..", "a/../b"),
        *("localhost:", ":80", "\xff", "xn--", "a" * 300, "%00", "<script>", "x,y", "user:pw@x"),
    ),
    "Content-Length": (
        *("-1", "+1", "1e3", "0x10", "1, 1", "1, 2", "1_0", "\xb2", "9" * 30, "nan", "00", " 0"),
    ),
    "Transfer-Encoding": (
        *(
            "chunked, chunked",
            "gzip",
            "identity",
            "chunked;x",
            "xchunked",
            "\x0bchunked",
            "CHUNKED",
        ),
    ),
    "Range": ("bytes=", "bytes=-", "bytes=0-0,0-0", "bytes=9-1", "bytes=a-b", "x=1", "bytes=-0"),
    "If-None-Match": (
        *('"', "*", 'W/"', '"1", "2"', "1", "W/", ',"', '"\xff"', '"' * 999, '"a",' * 900, "*, *"),
        *('W/"1", *', '"a" "b"', "w/" + '"1"', '""', ",,,", '"\x7f"', '"a\tb"', 'W/W/"1"'),
    ),
    "If-Match": ("*", '"1', "W/"),
    "If-Modified-Since": (
        "0",
        "Sun, 99 Nov 1994 99:99:99 GMT",
        "x",
        "Mon, 01 Jan 0000 00:00:00 GMT",
    ),
    "If-Range": ('"', "x", "Sun, 06 Nov 99999 08:49:37 GMT"),
    "Cookie": ("=", ";", "a", "a=", "=a", 'a="', 'a="\\777"', "a=b; a=c; $Version=1", "\xff=\xff"),
    "Accept": ("*", "/", "a/", "*/*;q=x", "*/*;q=-1", "text/html;q=9e999", ";", "a/b;" * 900),
    "Accept-Encoding": ("*;q=nan", "gzip;q=", ",", "identity;q=0"),
    "Accept-Language": ("*", "-", "a-", "en;q=nan"),
    "Idempotency-Key": (
        *("", '"', '"x', "\xff", "a" * 3000, '"a"', "a", '"a";b', '"\\"', "(a b)", "?1", ":YQ==:"),
        *('"' + "\\\\" * 255 + '"', "a" * 255, "a" * 256, '"a" "b"', "a,b", "@1", "%61", '"%61"'),
    ),
    "Cancel-After": (
        *("0", "0.001", "1", "-1", "+1", "1e3", ".5", "1.", "0x10", "1, 1", "1,2", "inf", "nan"),
        *("9" * 20, "9" * 21, "0" * 20, "\xb2", "1_0", "2147483648", "2147483649", '"1"', "1;a=b"),
    ),
    "Content-Type": (
        *("", "/", "application/json; charset=nonsense", "text/plain; charset=\xff", ";", "a/b;="),
        *("multipart/form-data", "multipart/form-data; boundary=", "text/html; charset=utf-7"),
        *(
            'application/x-www-form-urlencoded; charset="',
            "multipart/form-data; boundary=" + "-" * 99,
        ),
    ),
    "Content-Encoding": ("gzip", "br", "nonsense"),
    "Authorization": (
        "",
        "Basic",
        "Basic \xff",
        "Basic !!!",
        "Basic OjpA",
        "Bearer",
        "Digest =",
        "x=",
    ),
    "Referer": ("http://[", "http://]", "//[", "\xff", "http://a:b@c/?#", "?", "http://\u00e9:x"),
    "HX-Current-URL": ("http://[", "http://[x]"),
    "Next-Url": ("http://[", "//]"),
    "Ping-From": ("http://[", "//]"),
    "Forwarded": ("for=", 'for="[', "for=[::1;host=[", "proto=x;;", "host=\xff"),
    "X-Forwarded-For": ("[", "999.999.999.999", ",,"),
    "X-Forwarded-Host": ("[", "a@b"),
    "X-Forwarded-Proto": ("[", "javascript"),
    "X-HTTP-Method-Override": ("DELETE", "\xff"),
    "Expect": ("100-continue", "200-ok", "\xff"),
    "Upgrade": ("h2c", "websocket", "x", "TLS/1.0, HTTP/2"),
    "HTTP2-Settings": ("", "!!!", "AAAA", "\xff"),
    "Connection": ("upgrade", "keep-alive, close", "X-Owner", "\xff", ",", "close, host"),
    "TE": ("trailers", "chunked;q=x"),
    "Date": ("0", "nonsense"),
    "Max-Forwards": ("-1", "x"),
    "Access-Control-Request-Method": ("DELETE", "\xff"),
    "Last-Event-ID": ("\xff",),
    "X-Request-ID": ("a" * 3000, "\xff"),
}
#: What any of them gets.
ANYWHERE = (
    *(
        "",
        " ",
        "\xff\xfe",
        "=",
        ",",
        ";",
        '"',
        "%",
        "%00",
        "%ff",
        "[",
        "http://[",
        "\\",
        "<x>",
        "{}",
    ),
    *(
        "a" * 4000,
        "\t",
        "\u20ac".encode().decode("latin-1"),
        "-1",
        "NaN",
        "1" * 5000,
        "\x00",
        "a\rb",
    ),
)
SPECIAL = tuple((name, value) for name, values in VALUES.items() for value in values)
GENERIC = tuple(product(VALUES, ANYWHERE))

#: Ways to write an id. The first is the right one.
SPELLINGS = (
    *(
        "{id}",
        "{id}/",
        "{id}//",
        "/{id}",
        "{id}/x",
        "{id}/result/",
        "{id}/result/result",
        "{id}?a=b",
    ),
    *(
        "{id}?{id}",
        "{id};a",
        "{id}%00",
        "%00{id}",
        "{id}%20",
        "{id}%0a",
        "{id}.json",
        "{id}.",
        "./{id}",
    ),
    *("../jobs/{id}", "%2e%2e/{id}", "{id}%2f", "{id}{id}", "{id}0", "0{id}", "{id}%", "{id}%zz"),
    *(
        "{id}%ff",
        "{id}#x",
        "{id}?%ff=%zz&&&=",
        "-{id}",
        "{{{id}}}",
        "{ID}",
        "{escaped}",
        "{escaped}/",
    ),
)


def spelled(spelling: str, job_id: str) -> str:
    """The id, written so."""
    escaped = "".join(f"%{byte:02x}" for byte in job_id.encode())
    return spelling.format(id=job_id, ID=job_id.upper(), escaped=escaped)


PATHS = (
    *("/", "//", "///", "/jobs", "/jobs/", "/jobs//", "/jobs/result", "/jobs/x", "/jobs//result"),
    *("/upload/", "/upload//", "/UPLOAD", "/things/", "/things//", "/things/%2f", "/things/%00"),
    *(
        "/things/%ff%fe",
        "/things/%",
        "/things/%zz",
        "/things/..",
        "/things/%2e%2e/%2e%2e",
        "/things/é",
    ),
    *(
        "/guarded",
        "/guarded/",
        "/guarded/rooms/-1",
        "/guarded/rooms/" + "9" * 5000,
        "/things/" + "x" * 3000,
    ),
    *(
        "/jobs/" + "0" * 31,
        "/jobs/" + "0" * 33,
        "/jobs/" + "G" * 32,
        "/jobs/" + "A" * 32,
        "*",
        "x",
        "",
    ),
    *(
        "/jobs/" + "%30" * 32,
        "http://evil.example/jobs/x",
        "http://[/",
        "//evil.example/x",
        "?",
        "#",
    ),
    *("/static/../../etc/passwd", "/static/%2e%2e/x", "/favicon.ico", "/things/\x7f", "/a b"),
    *(
        "/upload?" + "a=b&" * 2000,
        "/upload?%",
        "/upload?%ff",
        "/upload?\xff",
        "/upload;x=y",
        "/hand/",
    ),
    "/jobs/" + "\u0660".encode().decode("latin-1") * 32,
    *("/jobs/retry", "/jobs//retry", "/jobs/x/retry", "/jobs/retry/retry", "/jobs;x=y", "/JOBS"),
    *(
        "/jobs?%",
        "/jobs?%ff",
        "/jobs?\xff",
        "/jobs?=",
        "/jobs?&&&",
        "/jobs?limit",
        "/jobs?" + "a" * 5000,
    ),
    *("/jobs?" + "state=queued&" * 400, "/jobs?" + "route=x&" * 600, "/jobs?cursor=" + "A" * 5000),
    *(
        "/jobs?route=%00",
        "/jobs?route=%f0%9f%92%a9",
        "/jobs?route=%ed%a0%80",
        "/jobs?route=" + "x" * 5000,
    ),
)
METHODS = (
    *(
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "DELETE",
        "PATCH",
        "OPTIONS",
        "TRACE",
        "CONNECT",
        "QUERY",
        "get",
    ),
    *("PRI", "X" * 500, "M-SEARCH", "!", "PROPFIND"),
)

#: Beginnings of requests that are none.
LINES = (
    *(
        b"",
        b"\r\n",
        b"\n\n",
        b"\r",
        b"GET",
        b"GET /plain",
        b"GET  /plain  HTTP/1.1",
        b"GET /plain HTTP/9.9",
    ),
    *(
        b"GET /plain HTTP/1.1.1",
        b"GET /plain HTTP/2.0",
        b"GET /plain HTTP/0.9",
        b"GET /plain HTTP/1.0",
    ),
    *(
        b"GET /plain http/1.1",
        b"/plain GET HTTP/1.1",
        b"GET\t/plain\tHTTP/1.1",
        b"GET /pl ain HTTP/1.1",
    ),
    *(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0", b"GET /\xff HTTP/1.1"),
    *(b"GET /\x00 HTTP/1.1", b"\xffGET / HTTP/1.1", b"G\xc9T / HTTP/1.1", b"GET plain HTTP/1.1"),
    *(
        b"GET / HTTP/1.1 x",
        b"GET " + b"/" * 70_000 + b" HTTP/1.1",
        b"CONNECT a:b HTTP/1.1",
        b"GET ? HTTP/1.1",
    ),
    *(
        b"GET http://[/ HTTP/1.1",
        b"GET //[ HTTP/1.1",
        b"GET * HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET # HTTP/1.1",
    ),
)
HEADS = (
    *(
        b"",
        b"Host: x",
        b"Host: x\r\nHost: y",
        b"Host",
        b": x",
        b"Host : x",
        b" Host: x",
        b"Host:\x00x",
    ),
    *(
        b"Host: x\r\n folded: y",
        b"Host: x\nX: y",
        b"Host: x\rX: y",
        b"Host: x\r\nX\xff: y",
        b"Host: x\r\n\tX",
    ),
    *(b"Host: x\r\nX: " + b"y" * 70_000, b"Host: x\r\n" + b"X: y\r\n" * 3_000 + b"Z: y"),
    *(b"Host: x\r\nContent-Length: 1\r\nContent-Length: 2", b"Host: x\r\nContent-Length: x"),
    *(
        b"Host: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        b"Host: x\r\nTransfer-Encoding: x",
    ),
    *(
        b"Host: x\r\nUpgrade: h2c\r\nConnection: upgrade",
        b"Host: x\r\n:path: /plain",
        b"Host: \xff",
    ),
    b"Host: x\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk",
    b"Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: x",
)
#: Chunked bodies that are none.
CHUNKS = (
    *(
        b"x\r\n",
        b"-1\r\n",
        b"5\r\nab",
        b"5\r\nabcdefgh\r\n0\r\n\r\n",
        b"\r\n",
        b"0x5\r\nabcde\r\n0\r\n\r\n",
    ),
    *(
        b"ffffffffffffffffffff\r\n",
        b"5;" + b"x" * 70_000,
        b"5\r\nabcde\r\n",
        b"5\r\nabcde\r\n0\r\nX\r\n\r\n",
    ),
    *(
        b"5\nabcde\n0\n\n",
        b"5 \r\nabcde\r\n0\r\n",
        b"\x005\r\nabcde\r\n0\r\n\r\n",
        b"+5\r\nabcde\r\n0\r\n\r\n",
    ),
)
