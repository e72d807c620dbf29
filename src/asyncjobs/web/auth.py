"""quart-auth: its `current_user` in the background is who has sent the request.

::

    from asyncjobs.web import auth

    QuartAuth(app)
    jobs = QuartJobs(app, principal=auth.user)
    jobs.before_run(auth.restore_user)

Without that, whatever is asked of `current_user` in a job raises a RuntimeError. This module needs
quart-auth installed, and nothing else imports it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from quart import current_app
from quart_auth import QuartAuth, current_user

from ..errors import SetupError
from ..running.current import current_job
from .context import context_from_json


def user() -> str | None:
    """The `auth_id` of the current user, None if that is anonymous: for ``principal=``.

    A function of your own may tell more than that: a dict, with the `auth_id` as its ``user``.
    """
    return current_user.auth_id


async def restore_user() -> None:
    """Make the job's principal the `current_user`: for `QuartJobs.before_run`.

    It is of the app's own `user_class`, logged in as in a request of its own; an anonymous one
    stays anonymous. If nothing was said of the principal when the request came, as before there was
    a ``principal=``, access to `current_user` still raises.

    Raises:
        SetupError: the principal names no user, or the app has no `QuartAuth`.
    """
    if context_from_json(current_job.request.context).principal is msgspec.UNSET:
        return
    extension = _extension()
    extension.login_user(extension.user_class(_auth_id_of(current_job.principal)))


def _auth_id_of(principal: Any) -> Any:
    auth_id = principal.get("user", principal) if isinstance(principal, dict) else principal
    if isinstance(auth_id, (dict, list)):
        raise SetupError(
            "restore_user does not know whose the job is: have principal= return the auth_id of "
            'the current user, as asyncjobs.web.auth.user does, or a dict with that as its "user"'
        )
    return auth_id


def _extension() -> QuartAuth:
    """The one that `current_user` is of."""
    extensions: list[QuartAuth] = current_app.extensions.get("QUART_AUTH", [])
    for extension in extensions:
        if extension.singleton:
            return extension
    raise SetupError("restore_user needs a QuartAuth(app), whose current_user it restores")
