"""`quart.session` in a job: what the request had in it is not there, and nothing is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import quart
from quart import Quart
from quart.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin

from ...job import Request
from ..quart_side import SESSION_KEYS, session_of, set_session
from .vanishing import Vanishing

_MISSING, _GONE = object(), object()


def has_data(session: Mapping[str, Any]) -> bool:
    """Whether there is anything in it that somebody may look for."""
    return not SESSION_KEYS.issuperset(session)


def open_session(app: Quart, context: Any, stored: Request) -> None:
    """Give a job, whose request's context is about to be entered, what Quart's own kind of session
    is without a cookie. If a cookie is stored, or the session is of another kind, Quart opens it.
    """
    interface = app.session_interface
    if (
        type(interface) is SecureCookieSessionInterface
        and not vars(interface)
        and app.request_class is quart.Request
        and b"cookie" not in dict(stored.headers)
    ):
        is_signed = bool(app.secret_key)
        set_session(
            context, interface.session_class() if is_signed else interface.null_session_class()
        )


def replace_session(app: Quart, context: Any, vanishing: Vanishing, *, had_data: bool) -> None:
    """Give a job, whose request's context has just been entered, a session of ours.

    What Quart has opened without the cookies looks like that of somebody new, whoever has sent the
    request. Without a secret key there are no sessions, and it stays what Quart makes of that.

    Args:
        vanishing: told of whatever is written.
        had_data: whether there was anything in the session of the request.
    """
    session = session_of(context)
    if app.session_interface.is_null_session(session):
        return
    opened = dict(session)
    # There is data in it if the app has its cookies stored, by `keep_headers`.
    if had_data and not has_data(opened):
        set_session(context, LostSession(vanishing))
    else:
        set_session(context, JobSession(opened, vanishing))


class _Kept(SessionMixin):
    """What tells that a session is written to."""

    _vanishing: Vanishing
    _modified = False

    @property
    def modified(self) -> bool:
        """Whether the job has written to it. Quart's sessions set that with each write."""
        return self._modified

    @modified.setter
    def modified(self, value: bool) -> None:
        self._modified = value
        if value:
            self._vanishing.warn("writes to the session or flashes a message")


class JobSession(_Kept, SecureCookieSession):
    """A session that can be read and, for as long as the job runs, be written."""

    def __init__(self, data: dict[str, Any], vanishing: Vanishing) -> None:
        self._vanishing = vanishing
        super().__init__(data)


class LostSession(_Kept):
    """In the place of one that had data: what the job itself has not written cannot be read.

    Writing never fails, and is good for as long as the job runs.

    Raises:
        RuntimeError: something else is read, or all of it.
    """

    def __init__(self, vanishing: Vanishing) -> None:
        self._vanishing = vanishing
        self._written: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        value = self._written.get(key, _MISSING)
        if value is _GONE or (value is _MISSING and key in SESSION_KEYS):
            raise KeyError(key)
        if value is _MISSING:
            raise _unreadable()
        return value

    def __iter__(self) -> Iterator[str]:
        raise _unreadable()

    def __len__(self) -> int:
        raise _unreadable()

    def __setitem__(self, key: str, value: Any) -> None:
        self._written[key] = value
        self.modified = True

    def __delitem__(self, key: str) -> None:
        self[key] = _GONE

    def pop(self, key: str, default: Any = _MISSING) -> Any:
        """What the job has written there; `default` only where it knows that there is nothing."""
        try:
            value = self[key]
        except KeyError:
            if default is _MISSING:
                raise
            return default
        del self[key]
        return value

    def copy(self) -> dict[str, Any]:
        """All of it."""
        raise _unreadable()

    def __or__(self, other: object) -> dict[str, Any]:
        raise _unreadable()

    __ror__ = __or__

    def clear(self) -> None:
        """Forget what the job has written."""
        self._written.clear()
        self.modified = True


def _unreadable() -> RuntimeError:
    return RuntimeError(
        "the session cannot be read in the background: it belongs to the cookies of the request, "
        "which are never stored, and there was something in it. Read it above @jobs.background "
        "and pass that on as an argument, or have QuartJobs(app, principal=...) keep what the job "
        "has to know of its submitter: it is current_job.principal"
    )
