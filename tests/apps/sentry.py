"""An app that reports to Sentry, or here to a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import sentry_sdk
from quart import Quart
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.quart import QuartIntegration
from sentry_sdk.transport import Transport

from asyncjobs import QuartJobs, current_job

from . import configuration

CONFIG = configuration()


class ToFile(Transport):
    """Writes what is reported into a file, one JSON document a line."""

    def capture_envelope(self, envelope: Envelope) -> None:
        with Path(CONFIG["EVENTS"]).open("a") as events:
            for item in envelope.items:
                print(json.dumps(item.payload.json, default=str), file=events)


DSN = "http://key@127.0.0.1:1/1"
if "QUART_INTEGRATION" not in CONFIG:
    sentry_sdk.init(dsn=DSN, transport=ToFile)
elif (options := CONFIG["QUART_INTEGRATION"]) is None:
    sentry_sdk.init(dsn=DSN, transport=ToFile, disabled_integrations=[QuartIntegration()])
else:
    sentry_sdk.init(dsn=DSN, transport=ToFile, integrations=[QuartIntegration(**options)])

app = Quart(__name__)
app.config.update(CONFIG)
jobs = QuartJobs(app)


@app.get("/live/<name>")
async def live(name: str) -> NoReturn:
    sentry_sdk.set_tag("name", name)
    raise LookupError("live")


@app.get("/async/<name>")
@jobs.background
async def in_the_loop(name: str) -> NoReturn:
    sentry_sdk.set_tag("name", name)
    raise LookupError("async")


@app.get("/sync/<name>")
@jobs.background
def in_a_thread(name: str) -> NoReturn:
    sentry_sdk.set_tag("name", name)
    raise LookupError("sync")


@app.get("/message/<name>")
@jobs.background
def message(name: str) -> list[Any]:
    sentry_sdk.set_tag("name", name)
    sentry_sdk.capture_message("by hand")
    return []


@app.get("/retried/<name>")
@jobs.background(retries=1)
async def retried(name: str) -> NoReturn:
    raise LookupError(f"attempt {current_job.attempt}")
