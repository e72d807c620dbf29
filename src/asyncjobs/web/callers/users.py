"""quart-auth's users in a job: nobody is taken for an anonymous one.

It knows a user by a cookie or a token, which are never stored, and what it has found once it keeps
in `g`. That is where we put something else; nothing of quart-auth is imported.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from quart import Quart, g


def hide_users(app: Quart) -> None:
    """Have access to a user raise, in the current context: until somebody sets one, by
    `restore_user` or `login_user`."""
    for extension in _extensions(app):
        known = None
        with suppress(Exception):  # a loader of the app's own, which misses something
            known = extension.load_user().auth_id
        if known is None:  # or the app has its credentials stored, by `keep_headers`
            setattr(g, extension.attribute_name, UnknownUser())


def take_for_granted(app: Quart) -> None:
    """Whoever was logged in by now is the user of the job, whose cookie nobody has asked for."""
    for user in _with_cookie_due(app):
        user.action = type(user.action).PASS


def is_cookie_due(app: Quart) -> bool:
    """Whether somebody was logged in or out, who would get a cookie with the response."""
    return bool(_with_cookie_due(app))


class UnknownUser:
    """In the place of a user that the job does not know.

    Raises:
        RuntimeError: it is asked for anything, with what to do about it.
    """

    #: What shall become of its cookie, once `renew_login` has said so.
    action: Any = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # protocols of Python, which it does not have
            raise AttributeError(name)
        raise _unknown(f"current_user.{name}")

    def _raise(self, *args: object) -> Any:
        raise _unknown("current_user")

    # All that an object answers by itself.
    __bool__ = __eq__ = __ne__ = __hash__ = __str__ = __format__ = _raise


def _unknown(what: str) -> RuntimeError:
    return RuntimeError(
        f"{what} cannot be read in the background: a user is known by a cookie or a token, which "
        "are never stored. To make it the submitter, have QuartJobs(app, principal=auth.user) keep "
        "who that is, and call jobs.before_run(auth.restore_user), both of asyncjobs.web.auth; or "
        "call login_user in a before_run function of your own"
    )


def _extensions(app: Quart) -> list[Any]:
    extensions = app.extensions.get("QUART_AUTH")
    return extensions if isinstance(extensions, list) else []


def _with_cookie_due(app: Quart) -> list[Any]:
    users = []
    for extension in _extensions(app):
        user = g.get(extension.attribute_name)
        action = getattr(user, "action", None)
        if extension.mode == "cookie" and getattr(action, "name", "PASS") != "PASS":
            users.append(user)
    return users
