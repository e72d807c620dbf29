"""Views that tell whose they are, with quart-auth."""

from __future__ import annotations

from typing import Any

from quart import Quart, session
from quart_auth import AuthUser, QuartAuth, current_user, login_user

from apps import configuration
from apps.signals import Signals
from asyncjobs import QuartJobs, current_job
from asyncjobs.web import auth

app = Quart(__name__)
app.secret_key = "a secret of the tests"
app.config.from_mapping(configuration())
app.config["QUART_AUTH_COOKIE_SECURE"] = False
QuartAuth(app)
jobs = QuartJobs(app, principal=auth.user)
jobs.before_run(auth.restore_user)
signals = Signals(app.config["SIGNALS"])


@app.post("/login/<name>")
async def login(name: str) -> dict[str, Any]:
    login_user(AuthUser(name))
    session["cart"] = ["a pear"]
    return {}


@app.put("/who/<name>")
@jobs.background
async def who(name: str) -> dict[str, Any]:
    signals.send(f"{name}-started-{current_job.attempt}")
    await signals.arrive(f"{name}-go-on")
    return answer()


@app.put("/sync-who/<name>")
@jobs.background
def sync_who(name: str) -> dict[str, Any]:
    signals.send(f"{name}-started-{current_job.attempt}")
    signals.wait(f"{name}-go-on")
    return answer()


def answer() -> dict[str, Any]:
    try:
        cart = session.get("cart")
    except RuntimeError as error:
        cart = str(error)
    return {
        "attempt": current_job.attempt,
        "principal": current_job.principal,
        "user": current_user.auth_id,
        "cart": cart,
    }
