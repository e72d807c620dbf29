"""The app of the demo: five slow routes, each a background job by one decorator.

The sleeps stand for what keeps real handlers busy.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from io import BytesIO

from quart import Quart, Response, request, send_file

from asyncjobs import QuartJobs, current_job

app = Quart(__name__)
# Relative to the working directory: that of the demo's server is a temporary one. As nothing in it
# is to be kept, a server that is told to stop need not wait for its jobs.
jobs = QuartJobs(app, store="sqlite:///jobs.db", drain_time=0)


@app.route("/foo")
@jobs.background
def foo() -> dict[str, bool]:
    """The route of the pattern that this library grew from."""
    time.sleep(2)
    return {"Result": True}


@app.route("/words", methods=["POST"])
@jobs.background
def words() -> dict[str, int]:
    """Count the words of an upload, one by one, in a thread."""
    text = current_job.request.body.split()
    count = 0
    for _ in current_job.track(text, message="counting words"):
        count += 1
        time.sleep(2.5 / len(text))
    return {"words": count}


@app.route("/report")
@jobs.background
async def report() -> dict[str, int]:
    """Go through a few steps, of `pause` whole seconds each, or of half a second."""
    steps = "read the ledger", "add it up", "draw the charts", "set the type", "bind the pages"
    for done, step in enumerate(steps):
        current_job.progress(done, len(steps), step)
        await asyncio.sleep(request.args.get("pause", 0.5, type=int))
    current_job.progress(len(steps), len(steps), "done")
    return {"steps": len(steps)}


@app.route("/unlucky")
@jobs.background
async def unlucky() -> dict[str, int]:
    """Fail on the way."""
    for number in current_job.track(range(1, 21), message="counting to 20"):
        await asyncio.sleep(0.1)
        if number == 13:
            raise ArithmeticError("13 is not a lucky number")
    return {"counted": 20}


@app.route("/gzip", methods=["POST"])
@jobs.background
async def compress() -> Response:
    """Answer an upload with a file."""
    content, name = await request.body, request.args["name"]
    size = max(1, len(content) // 20)
    file = BytesIO()
    with gzip.GzipFile(name, "wb", fileobj=file) as zipped:
        for start in current_job.track(range(0, len(content), size), message="compressing"):
            zipped.write(content[start : start + size])
            await asyncio.sleep(0.1)
    file.seek(0)
    return await send_file(
        file, "application/gzip", as_attachment=True, attachment_filename=f"{name}.gz"
    )


@app.errorhandler(500)
async def unexpected(error: Exception) -> tuple[dict[str, str], int]:
    """The app's own 500, for jobs that fail as for requests that do."""
    return {"error": "bad luck"}, 500
