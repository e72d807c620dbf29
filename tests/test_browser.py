"""What a real browser makes of event streams: the scripts of the recipe, in Chromium."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from recipes import write_files
from server import Server, until

#: Put to the recipe: a page that says what it has seen, and what it was that asked for streams.
TRIED = '''
from quart import request

told, asked = {}, []
TRIED = """<!doctype html>
<iframe src="/"></iframe>
<script type="module">
  import { watch } from "./watch.js";
  import { statuses } from "./read.js";

  const tell = (name, what) =>
    fetch(`/told/${name}`, { method: "POST", body: JSON.stringify(what) });
  const { TaskId } = await (await fetch("/films", { method: "POST" })).json();
  const url = `/jobs/${TaskId}`;

  const plain = new EventSource(url), events = [];
  plain.addEventListener("status", (event) => events.push(event.lastEventId));
  plain.addEventListener("error", () => {
    if (plain.readyState === EventSource.CLOSED) tell("plain", events);
  });

  const watched = [];
  watch(url, (job) => {
    watched.push(job.progress?.current ?? 0);
    if (job.finished !== null) tell("watch", [...watched, job.state]);
  });

  const read = [];
  for await (const job of statuses(url)) read.push(job.progress?.current ?? 0);
  await tell("read", read);

  const output = document.querySelector("iframe").contentDocument.querySelector("output");
  while (output.value !== "succeeded") await new Promise((done) => setTimeout(done, 50));
  await tell("page", output.value);
</script>
"""

@app.before_request
async def note():
    if request.accept_mimetypes.best == "text/event-stream":
        asked.append([request.path, request.headers.get("Last-Event-ID")])

@app.get("/tried")
async def tried():
    return TRIED

@app.post("/told/<name>")
async def tell(name):
    told[name] = await request.get_json(force=True)
    return {}

@app.get("/told")
async def all_told():
    return {"told": told, "asked": asked}
'''


def test_the_scripts_of_the_recipe_in_a_browser(tmp_path: Path) -> None:
    """Both see the job go on and end, and so does the page. An `EventSource` that nobody closes
    comes back once, is answered 204, and stops."""
    write_files(tmp_path)
    app = tmp_path / "watched.py"
    app.write_text(app.read_text() + TRIED)
    with Server("watched:app", tmp_path) as server, server.client() as client:
        with browsing(f"{server.url}/tried", tmp_path):
            seen = until(lambda: all_told(client), "what the page has to tell")
        told = seen["told"]
        for name in ("watch", "read"):
            steps = [step for step in told[name] if step != "succeeded"]
            assert steps == sorted(steps)
            assert steps[0] < steps[-1] == 3
        assert told["watch"][-1] == told["page"] == "succeeded"
        versions = [int(each) for each in told["plain"]]
        assert versions == sorted(set(versions))
        assert [known for _, known in seen["asked"] if known] == [told["plain"][-1]]


def all_told(client: httpx.Client) -> dict[str, Any] | None:
    """What the page has told, once it is all."""
    seen: dict[str, Any] = client.get("/told").json()
    return seen if set(seen["told"]) == {"plain", "watch", "read", "page"} else None


@contextmanager
def browsing(url: str, folder: Path) -> Iterator[None]:
    """A browser that shows a page, to nobody."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is missing")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    options += [f"--user-data-dir={folder / 'profile'}", "--remote-debugging-port=0"]
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            [program, *options, url], stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
