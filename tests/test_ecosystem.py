"""Beside the extensions that people use, by one worker, by two, and behind a real nginx."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate
from sentry_sdk.envelope import Envelope

from apps.signals import Signals
from nginx import Nginx
from postgres import Postgres
from recipes import FILES, PAGE, type_recipe, write_files
from server import (
    DEADLINE,
    Server,
    count_jobs,
    has_socket,
    listener_at,
    result,
    submit,
    until,
)

#: The files of the recipes that are run here, and those whose commands are typed as well.
FILES_TYPED = [
    "absolute.py",
    "admins.py",
    "limited.py",
    "login.py",
    "members.py",
    "proxied.py",
    "shop.py",
]
FILES_TYPED += ["sums.py", "validated.py"]
FILES_RUN = [*FILES_TYPED, "azure_client.py", "poll.js", "reports.conf"]
FILES_RUN += ["reporting.py", "stripped.py", "traced.py"]

SETTINGS = ["one worker", "two workers", "nginx"]
SHOP = {"Origin": "https://shop.example"}
#: What a page needs to see of an answer, in the headers that CORS exposes.
NEEDED = {"Location", "Retry-After", "Link", "Job-State", "Preference-Applied", "ETag"}

#: The recipe for nginx makes of any app one that is behind it.
BEHIND = """
from hypercorn.middleware import ProxyFixMiddleware
from {name} import app
app.asgi_app = ProxyFixMiddleware(app.asgi_app)
"""


@dataclass(frozen=True)
class Site:
    """A server as clients reach it.

    Attributes:
        url: what all of its URLs begin with.
        path: the part of that which is a path.
        certificate: of who ends TLS in front of it.
    """

    server: Server
    url: str
    path: str = ""
    certificate: Path | None = None

    def client(self, **headers: str) -> httpx.Client:
        """One whose requests name the whole path."""
        base_url = self.url.removesuffix(self.path)
        trusted: Any = False
        if self.certificate is not None:
            trusted = ssl.create_default_context(cafile=self.certificate)
        return httpx.Client(base_url=base_url, headers=headers, verify=trusted, timeout=DEADLINE)

    def curl_options(self) -> list[str]:
        return [] if self.certificate is None else ["--cacert", str(self.certificate)]


@contextmanager
def site_of(
    app: str, folder: Path, setting: str, config: dict[str, Any] | None = None
) -> Iterator[Site]:
    """An app as it is reached in one of the settings."""
    options: Sequence[str] = ["--root-path", "/reports"] if setting == "nginx" else []
    workers = 1 if setting == "one worker" else 2
    with ExitStack() as stack:
        server = Server(app, folder, config=config, workers=workers, options=options)
        stack.enter_context(server)
        if setting != "nginx":
            yield Site(server, server.url)
            return
        nginx = stack.enter_context(Nginx(folder / "nginx", locations(server)))
        yield Site(server, f"{nginx.url}/reports", "/reports", nginx.folder / "certificate.pem")
        assert nginx.log() == ""


def locations(server: Server) -> str:
    """What the recipe for nginx says, for this server."""
    assert "127.0.0.1:8000" in FILES["reports.conf"]
    return FILES["reports.conf"].replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")


# The recipes, as they are on the page.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of the recipes."""
    write_files(tmp_path)
    return tmp_path


@contextmanager
def recipe(name: str, folder: Path, setting: str) -> Iterator[Site]:
    """The app of a recipe."""
    if setting == "nginx":
        (folder / "behind.py").write_text(BEHIND.format(name=name))
        name = "behind"
    with site_of(f"{name}:app", folder, setting) as site:
        yield site


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", ["admins.py", "login.py", "members.py", "shop.py", "validated.py"])
def test_what_a_recipe_types(folder: Path, name: str, setting: str) -> None:
    """The recipes for quart-auth, for admins, quart-cors, quart-schema, and for a login with
    validation print what the page shows."""
    with recipe(name.removesuffix(".py"), folder, setting) as site:
        type_recipe(name, folder, site.url, site.curl_options())


def test_what_a_client_is_told_of_what_is_invalid(folder: Path) -> None:
    """The error handler of the recipe says what is wrong, as JSON."""
    with recipe("validated", folder, "one worker") as site, site.client() as client:
        answer = client.post("/counts", json={"texts": []})
        assert answer.status_code == 400
        assert "text" in answer.json()["invalid"]


def test_what_the_recipe_for_limits_types(folder: Path) -> None:
    """The same for quart-rate-limiter, which counts in each worker for itself."""
    with recipe("limited", folder, "one worker") as site:
        type_recipe("limited.py", folder, site.url)


@pytest.mark.parametrize("setting", SETTINGS)
def test_what_the_recipe_for_a_database_types(
    folder: Path, setting: str, postgres: Postgres
) -> None:
    """The same for quart-db, with a real PostgreSQL."""
    app = folder / "sums.py"
    url = "postgresql://localhost/shop"
    assert url in app.read_text()
    app.write_text(app.read_text().replace(url, postgres.url))
    with recipe("sums", folder, setting) as site, site.client() as client:
        type_recipe("sums.py", folder, site.url, site.curl_options())
        assert client.get(f"{site.path}/now").json()["now"].startswith("20")


@pytest.mark.parametrize("app", ["proxied", "stripped"])
def test_what_the_recipe_for_nginx_types(folder: Path, app: str) -> None:
    """Behind nginx a job knows the URL that was asked for, and every URL of it leads there; also
    where the proxy strips the path and the app puts it back."""
    options = ["--root-path", "/reports"] if app == "proxied" else []
    with Server(f"{app}:app", folder, options=options) as server:
        config = locations(server)
        if app == "stripped":
            config = config.replace(f":{server.port};", f":{server.port}/;")
        with Nginx(folder / "nginx", config) as nginx:
            certificate = nginx.folder / "certificate.pem"
            type_recipe("proxied.py", folder, nginx.url, ["--cacert", str(certificate)])
            site = Site(server, f"{nginx.url}/reports", "/reports", certificate)
            with site.client() as client:
                started = client.get("/reports/where")
                assert started.headers["Location"].startswith("/reports/where/")
                answer = result(client, started.headers["Location"])
                status = client.get(answer.links["status"]["url"]).json()
                assert client.get(status["links"]["result"]).content == answer.content
                # Allowed, as the app sees the origin of the page, but it is final.
                refused = client.delete(status["links"]["self"], headers={"Origin": nginx.url})
                assert refused.status_code == 409


@pytest.mark.parametrize("app", ["proxied", "stripped"])
def test_a_path_that_is_stripped_twice_or_never(folder: Path, app: str) -> None:
    """Where the proxy strips the path and the app does not know, or the other way round, all is a
    404, as the page says."""
    options = ["--root-path", "/reports"] if app == "proxied" else []
    path = "/where" if app == "proxied" else "/reports/where"
    with Server(f"{app}:app", folder, options=options) as server, server.client() as client:
        assert client.get(path).status_code == 404


def test_reports_to_sentry(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe for Sentry reports to a server what the page says, over HTTP."""
    with collector() as (port, envelopes):
        monkeypatch.setenv("SENTRY_DSN", f"http://key@127.0.0.1:{port}/1")
        with recipe("reporting", folder, "one worker") as site, site.client() as client:
            poll = submit(client, "GET", "/reports/2026")
            assert result(client, poll).status_code == 500
            until(lambda: envelopes, "the report")
            url = f"{site.url}/reports/2026"
    items = [item for envelope in envelopes for item in envelope.items]
    (event,) = [event for item in items if (event := item.get_event()) is not None]
    assert (event["request"]["url"], event["transaction"]) == (url, "reports")
    assert event["tags"] == {"year": 2026, "job_id": poll.rpartition("/")[2]}
    assert [value["value"] for value in event["exception"]["values"]] == ["attempt 2"]


@contextmanager
def collector() -> Iterator[tuple[int, list[Envelope]]]:
    """A server that takes what is reported to Sentry: its port, and what has come."""
    envelopes: list[Envelope] = []

    class Collect(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            envelopes.append(Envelope.deserialize(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *message: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collect) as server, ThreadPoolExecutor() as threads:
        threads.submit(server.serve_forever)
        try:
            yield server.server_port, envelopes
        finally:
            server.shutdown()


CLIENTS_TRACE, CLIENTS_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize("view", ["async def reports", "def reports"])
@pytest.mark.parametrize("is_traced", [True, False])
def test_a_trace_that_goes_on_in_the_job(folder: Path, is_traced: bool, view: str) -> None:
    """The job's span, in a thread as well, is the child of the client's, by its `traceparent`;
    without one it is the root of a trace."""
    app = folder / "traced.py"
    assert "async def reports" in app.read_text()
    app.write_text(app.read_text().replace("async def reports", view))
    headers = {"traceparent": f"00-{CLIENTS_TRACE}-{CLIENTS_SPAN}-01"} if is_traced else {}
    with recipe("traced", folder, "one worker") as site, site.client() as client:
        poll = submit(client, "GET", "/reports/2026", headers=headers)
        assert result(client, poll).json() == {"year": 2026}
        printed = re.findall(r"^\{\n.*?^\}$", site.server.log(), re.MULTILINE | re.DOTALL)
    (span,) = [span for span in map(json.loads, printed) if span["name"] == "report"]
    trace_id, parent = span["context"]["trace_id"], span["parent_id"]
    if is_traced:
        assert (trace_id, parent) == (f"0x{CLIENTS_TRACE}", f"0x{CLIENTS_SPAN}")
    else:
        assert parent is None


def test_a_document_below_a_path(folder: Path) -> None:
    """Below a path of its own, quart-schema's document leads to the app as the page says it does:
    where its paths are, behind that of its server, a job is submitted."""
    (said,) = re.findall(r"`(QuartSchema\(app, .*?)`", PAGE)
    app = folder / "validated.py"
    assert "QuartSchema(app)" in app.read_text()
    app.write_text(app.read_text().replace("QuartSchema(app)", said))
    with recipe("validated", folder, "nginx") as site, site.client() as client:
        document = client.get("/reports/openapi.json").json()
        validate(document)
        assert "/counts" in document["paths"]
        path = f"{document['servers'][0]['url']}/counts"
        assert client.post(path, json={"text": "a"}).status_code == 202


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_poller_of_azure(folder: Path, setting: str) -> None:
    """azure-core's own poller comes to the result, to which the URL leads that the hook makes."""
    with recipe("absolute", folder, setting) as site:
        done = azure(folder, site, "reports/2026")
        assert (done.returncode, done.stdout) == (0, "{'year': 2026}\n"), done.stderr


@pytest.mark.parametrize("change", ["no hook", "a job that fails"])
def test_what_the_poller_of_azure_does_not_take(folder: Path, change: str) -> None:
    """It needs whole URLs, and a status of 200, 201, 202 or 204."""
    app = folder / "absolute.py"
    old, new, words = {
        "no hook": ("@app.after_request\n", "", "No scheme supplied"),
        "a job that fails": ('{"year": year}', "year / 0", "invalid status"),
    }[change]
    assert old in app.read_text()
    app.write_text(app.read_text().replace(old, new))
    with recipe("absolute", folder, "one worker") as site:
        done = azure(folder, site, "reports/2026")
        assert done.returncode == 1
        assert words in done.stderr


def azure(folder: Path, site: Site, path: str) -> subprocess.CompletedProcess[str]:
    """Runs the client of the recipe."""
    environment = {"REQUESTS_CA_BUNDLE": str(site.certificate)} if site.certificate else {}
    return subprocess.run(
        [sys.executable, "azure_client.py", f"{site.url}/{path}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


#: What a browser does around `fetch` in a page of another origin. The first poll is answered by a
#: proxy that finds no server, the connection of the second one breaks. What the function pauses is
#: told, and ten times shorter.
BROWSER = """
import { resultOf } from "./poll.js";
const bare = fetch, SHOP = "https://shop.example";
const READABLE = ["cache-control", "content-language", "content-length", "content-type",
                  "expires", "last-modified", "pragma"];
const lost = [
  () => new Response("", { status: 503, headers: { "Retry-After": new Date().toUTCString() } }),
  () => { throw new TypeError("fetch failed"); },
];
const pauses = [], sleep = setTimeout;

globalThis.setTimeout = (done, milliseconds, ...more) => {
  if (!new Error().stack.includes("poll.js")) return sleep(done, milliseconds, ...more);
  pauses.push(milliseconds / 1000);
  return sleep(done, milliseconds / 10);
};

const listed = (headers, name) => (headers.get(name) ?? "").toLowerCase().split(/\\s*,\\s*/);

async function preflight(url, method, asked) {
  const headers = { Origin: SHOP, "Access-Control-Request-Method": method,
                    "Access-Control-Request-Headers": asked.join(", ") };
  const answer = await bare(url, { method: "OPTIONS", headers });
  const methods = listed(answer.headers, "Access-Control-Allow-Methods");
  const allowed = listed(answer.headers, "Access-Control-Allow-Headers");
  if (!answer.ok || answer.headers.get("Access-Control-Allow-Origin") !== SHOP
      || !methods.includes(method.toLowerCase()) || !asked.every((name) => allowed.includes(name)))
    throw new Error(`preflight of ${method} ${url}`);
}

globalThis.fetch = async (url, { method = "GET", headers = {}, body, credentials } = {}) => {
  const sent = new Headers(headers), asked = [...sent.keys()];
  if (asked.length > 0 || !["GET", "HEAD", "POST"].includes(method))
    await preflight(url, method, asked);
  if (method === "POST" && process.argv[3] === "two") sent.delete("Prefer");  // by a proxy
  sent.set("Origin", SHOP);
  if (method === "GET" && lost.length > 0) return lost.shift()();
  const answer = await bare(url, { method, headers: sent, body });
  if (answer.headers.get("Access-Control-Allow-Origin") !== SHOP
      || (credentials === "include" && !answer.headers.has("Access-Control-Allow-Credentials")))
    throw new Error(`CORS: ${url}`);
  const readable = [...READABLE, ...listed(answer.headers, "Access-Control-Expose-Headers")];
  const seen = [...answer.headers].filter(([name]) => readable.includes(name));
  const shown = new Response(await answer.arrayBuffer(), { status: answer.status, headers: seen });
  return Object.defineProperty(shown, "url", { value: answer.url });
};

const headers = { "Content-Type": "application/json" };
const order = { method: "POST", headers, body: '{"hats": 3}', credentials: "include" };
const answer = await resultOf(`${process.argv[2]}/orders`, order);
const status = new URL(/<(.*?)>; rel="status"/.exec(answer.headers.get("Link"))[1], answer.url);
const cancelled = await fetch(status, { method: "DELETE" });
console.log(answer.status, (await answer.text()).trim(), cancelled.status, ...pauses);
"""


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("requests", ["one", "two"])
def test_a_page_of_another_origin(folder: Path, setting: str, requests: str) -> None:
    """In a page of the origin that CORS allows, the recipe's function comes to the result, also if
    that is a 202 of the handler's own; in one request, and by polls where that is answered our 202,
    if a proxy says when to ask again by a date, and if the connection of a poll breaks. Such a page
    may cancel."""
    if (node := shutil.which("node")) is None:
        pytest.skip("node is missing")
    app = folder / "shop.py"
    assert ", 201\n" in app.read_text()
    app.write_text(app.read_text().replace(", 201\n", ", 202\n"))
    (folder / "browser.mjs").write_text(BROWSER)
    (folder / "package.json").write_text('{"type": "module"}')
    with recipe("shop", folder, setting) as site:
        done = subprocess.run(
            [node, "browser.mjs", site.url, requests],
            cwd=folder,
            env={"NODE_EXTRA_CA_CERTS": str(site.certificate or "")},
            capture_output=True,
            text=True,
            timeout=60,
        )
    pauses = " 1 5 5" if requests == "two" else ""
    printed = f'202 {{"ordered":{{"hats":3}}}} 409{pauses}\n'
    assert (done.returncode, done.stdout) == (0, printed), done.stderr


#: A page of which the submission fails, or that gives up while it polls.
GIVING_UP = """
import { resultOf } from "./poll.js";
const headers = { "Job-State": "queued", "Location": "/foo/1", "Retry-After": "0.01" };
const given_up = new AbortController();
for (const submission of [() => Promise.reject(new TypeError("fetch failed")), () => {
  const answer = new Response("{}", { status: 202, headers });
  return Object.defineProperty(answer, "url", { value: "http://x/foo" });
}]) {
  let polls = 0;
  globalThis.fetch = async (url, options) => {
    if (url === "http://x/foo") return submission();
    if (++polls === 1) return new Response("", { status: 502, headers: { "Retry-After": "0.01" } });
    given_up.abort();
    options.signal.throwIfAborted();
  };
  await resultOf("http://x/foo", { signal: given_up.signal })
    .catch((error) => console.log(error.name));
}
"""


def test_what_a_page_is_told_of(folder: Path) -> None:
    """A submission whose connection breaks is an error, as nobody knows whether there is a job; so
    is a poll once the page has given up."""
    if (node := shutil.which("node")) is None:
        pytest.skip("node is missing")
    (folder / "page.mjs").write_text(GIVING_UP)
    (folder / "package.json").write_text('{"type": "module"}')
    command = [node, "page.mjs"]
    printed = subprocess.check_output(command, cwd=folder, text=True, timeout=60)
    assert printed == "TypeError\nAbortError\n"


# All of them in one app.


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as postgres:
        yield postgres


@pytest.fixture(scope="module", params=SETTINGS)
def site(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    signals: Signals,
    postgres: Postgres,
) -> Iterator[Site]:
    """The app that has all of them."""
    folder = tmp_path_factory.mktemp("server")
    config = configuration(folder, signals, postgres)
    with site_of("apps.ecosystem:app", folder, request.param, config) as site:
        yield site


def configuration(folder: Path, signals: Signals, postgres: Postgres) -> dict[str, str]:
    spans = str(folder / "spans")
    return {"SIGNALS": str(signals.folder), "DATABASE": postgres.url, "SPANS": spans}


@contextmanager
def logged_in(site: Site, user: str) -> Iterator[httpx.Client]:
    """A client in a page of the shop, where this user has logged in."""
    with site.client(**SHOP) as client:
        assert client.post(f"{site.path}/login/{user}").status_code == 200
        yield client


@pytest.fixture
def ada(site: Site) -> Iterator[httpx.Client]:
    with logged_in(site, "ada") as client:
        yield client


ORDER = {"hats": 3}
ORDERED = {"hats": 3, "least": 2, "tenant": "acme", "buyer": "ada", "database": 42}


@pytest.mark.parametrize("path", ["/orders", "/below"])
def test_all_of_them_have_their_part_in_a_job(site: Site, ada: httpx.Client, path: str) -> None:
    """What is validated, who is logged in and the database are there in the job, whether it was
    validated above or below; and the page may read the result and all that is said of it."""
    started = ada.post(f"{site.path}{path}?least=2", json=ORDER, headers={"X-Tenant": "acme"})
    assert started.status_code == 202
    answer = result(ada, started.headers["Location"])
    assert (answer.status_code, answer.json()) == (201, ORDERED)
    status = ada.get(answer.links["status"]["url"])
    assert status.json()["state"] == "succeeded"
    for seen in (started, answer, status):
        assert seen.headers["Access-Control-Allow-Origin"] == SHOP["Origin"]
        exposed = seen.headers["Access-Control-Expose-Headers"].split(", ")
        assert set(exposed) == NEEDED


def test_what_is_wrong_is_said_at_once_above(site: Site, ada: httpx.Client) -> None:
    """Above, quart-schema's 400 and quart-auth's 401 are answered at once, and there is no job."""
    before = count_jobs(site.server.store)
    path = f"{site.path}/orders"
    assert ada.post(path, json={}).status_code == 400
    assert ada.post(f"{path}?least=many", json=ORDER).status_code == 400
    with site.client() as nobody:
        assert nobody.post(path, json=ORDER).status_code == 401
    assert count_jobs(site.server.store) == before


def test_what_is_wrong_is_the_result_below(site: Site, ada: httpx.Client) -> None:
    """Below, they are the result of the job; and so is the 500 of an answer that is none."""
    path = f"{site.path}/below"
    assert result(ada, submit(ada, "POST", path, json={})).status_code == 400
    failed = result(ada, submit(ada, "POST", path, json={"hats": 0}))
    assert (failed.status_code, failed.headers["Job-State"]) == (500, "failed")
    with site.client() as nobody:
        assert result(nobody, submit(nobody, "POST", path, json=ORDER)).status_code == 401


def test_nobody_else_knows_of_a_job(site: Site, ada: httpx.Client) -> None:
    """Who is somebody else, and who is not logged in, finds no job at any of its URLs."""
    answer = result(ada, submit(ada, "POST", f"{site.path}/orders", json=ORDER))
    status = answer.links["status"]["url"]
    with logged_in(site, "bob") as bob, site.client() as nobody:
        for client in (bob, nobody):
            for url in (str(answer.url), status, f"{status}/result"):
                assert client.get(url).status_code == 404
                assert client.delete(url).status_code == 404


def test_pages_that_may_cancel(
    site: Site, ada: httpx.Client, signals: Signals, name: str, tmp_path: Path
) -> None:
    """A page of the shop may cancel, as its preflight says; one of another origin may read nothing,
    and cancels nothing."""
    poll = submit(ada, "POST", f"{site.path}/long/{name}{tmp_path.name}")
    asked = {"Access-Control-Request-Method": "DELETE"}
    status = ada.get(poll).links["status"]["url"]
    for url in (poll, status):
        allowed = ada.options(url, headers=asked)
        assert allowed.headers["Access-Control-Allow-Origin"] == SHOP["Origin"]
        assert "DELETE" in allowed.headers["Access-Control-Allow-Methods"]
        foreign = ada.delete(url, headers={"Origin": "https://other.example"})
        assert foreign.status_code == 403
        assert "Access-Control-Allow-Origin" not in foreign.headers
    assert ada.delete(status).status_code == 200
    assert result(ada, poll).headers["Job-State"] == "cancelled"


def test_polls_count_for_no_limit(site: Site, ada: httpx.Client) -> None:
    """More polls than the default limit of the app are all answered, at every URL; a route of the
    app's own is not, after as many."""
    poll = submit(ada, "POST", f"{site.path}/orders", json=ORDER)
    status = result(ada, poll).links["status"]["url"]
    for url in (poll, status, f"{status}/result"):
        answers = [ada.get(url) for _ in range(2 * 2 * 30)]
        assert {answer.status_code for answer in answers} <= {200, 201}
        assert not [answer for answer in answers if "RateLimit-Limit" in answer.headers]
    answers = [ada.get(f"{site.path}/plain") for _ in range(2 * 2 * 30)]
    assert {answer.status_code for answer in answers} == {200, 429}


@pytest.mark.parametrize("where", ["above", "below", "blueprint"])
def test_submissions_count(site: Site, where: str) -> None:
    """A limit of the view, above or below, and one of its blueprint is for submissions: two, of
    each worker. The others are a 429 at once, and make no job."""
    before = count_jobs(site.server.store)
    with site.client() as client:
        answers = [client.get(f"{site.path}/limited/{where}") for _ in range(40)]
        made = [answer for answer in answers if answer.status_code == 202]
        assert {answer.status_code for answer in answers} == {202, 429}
        assert 2 <= len(made) <= 2 * 2
        assert count_jobs(site.server.store) == before + len(made)
        for answer in made:
            assert result(client, answer.headers["Location"]).status_code == 200


def test_a_poll_that_is_held_holds_no_connection(
    site: Site, ada: httpx.Client, signals: Signals, name: str, tmp_path: Path
) -> None:
    """While more polls are held than the pool has connections, a route that needs one is answered;
    and then the job has one of its own."""
    job = f"{name}{tmp_path.name}"
    poll = submit(ada, "POST", f"{site.path}/long/{job}")
    signals.wait(f"{job}-started")
    with ThreadPoolExecutor(20) as threads, logged_in(site, "ada") as other:
        held = [threads.submit(ada.get, poll, headers={"Prefer": "wait=25"}) for _ in range(20)]
        for _ in range(5):
            assert other.post(f"{site.path}/login/ada").status_code == 200
        assert not any(one.done() for one in held)
        signals.send(f"{job}-go-on")
        assert {one.result().json()["database"] for one in held} == {42}


def test_traces(site: Site, name: str, tmp_path: Path) -> None:
    """OpenTelemetry's middleware sees the submission and the polls, each as a request with its own
    status; what the job does is part of neither, as they have ended."""
    work = f"{name}{tmp_path.name}"
    with site.client() as client:
        poll = submit(client, "GET", f"{site.path}/traced/{work}")
        assert result(client, poll).status_code == 200

    def traced() -> list[dict[str, Any]]:
        lines = (site.server.folder / "spans").read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if work in line and line.endswith("\n")]

    def statuses() -> set[int]:
        found = [span["attributes"].get("http.status_code") for span in traced()]
        return {status for status in found if status is not None}

    until(lambda: statuses() == {200, 202}, "the end of the requests")
    (span,) = [span for span in traced() if span["name"] == work]
    assert span["parent_id"] is None


def test_the_document_of_the_app(site: Site) -> None:
    """quart-schema's document of all of that is valid, and tells of the jobs."""
    with site.client() as client:
        document = client.get(f"{site.path}/openapi.json").json()
    assert "202" in document["paths"]["/orders"]["post"]["responses"]
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"] = operation.get("responses") or {"default": {"description": ""}}
    validate(document)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_database_is_there_until_the_drain_is_over(
    tmp_path: Path, signals: Signals, name: str, workers: int, postgres: Postgres
) -> None:
    """A job that runs when the server is told to stop still has its database."""
    job = f"{name}{tmp_path.name}"
    config = {**configuration(tmp_path, signals, postgres), "QUART_JOBS_DRAIN_TIME": 30}
    server = Server("apps.ecosystem:app", tmp_path / "server", config=config, workers=workers)
    with server:
        with server.client() as client:
            poll = submit(client, "POST", f"/long/{job}")
            signals.wait(f"{job}-started")
            listener = listener_at(server.port)
            processes = server.workers()
        server.signal(signal.SIGTERM)
        until(lambda: not any(has_socket(pid, listener) for pid in processes), "the stop")
        signals.send(f"{job}-go-on")
        assert server.wait() == 0
    with server, server.client() as client:
        assert result(client, poll).json() == {"database": 42}
