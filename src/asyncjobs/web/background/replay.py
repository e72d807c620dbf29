"""Between Quart's requests and stored ones: freeze one, thaw it later, capture the response."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import quart
from quart import Quart
from quart.signals import got_request_exception
from quart.typing import ResponseTypes
from quart.utils import encode_headers
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException, InternalServerError

from ...errors import HandlerGone, JobUnreadable, ResponseTooLarge
from ...job import Request, Response
from ...log import say_retried
from ...outcome import Outcome, Raised, Unusable, in_words
from ...running.current import current_job
from ...running.threads import Threads
from ...settings import Settings
from ..callers.session import open_session, replace_session
from ..callers.users import hide_users, is_cookie_due, take_for_granted
from ..callers.vanishing import Vanishing
from ..context import Context, context_from_json, context_to_json
from ..http.body import OverLimit, keep_body
from ..http.headers import (
    BODILESS,
    storable_request_headers,
    storable_response_headers,
)
from ..http.relative import resolved
from ..quart_side import (
    JSON,
    after_this_request_of,
    current_request,
    error_handler_of,
    handle_user_exception,
    headers_of_request,
    log_exception,
    plain_json_of,
    take_rule,
)
from ..routing.marks import View
from ..routing.matching import lead_to, only_rule, preprocess
from .added import Added, added_to_call, callee_of
from .draining import drain
from .sentry import describe_to_sentry
from .sync import threads_of_job
from .teardown import JOB

logger = logging.getLogger("asyncjobs")

_JSON = ((b"content-type", JSON.encode()),)
_ASGI = {"version": "3.0", "spec_version": "2.3"}


def freeze(request: quart.Request, body: bytes, context: Context, settings: Settings) -> Request:
    """What a job keeps of `request`, taken from the raw scope: Quart re-codes some bytes."""
    scope: Any = request.scope
    client, server = scope.get("client"), scope.get("server")
    return Request(
        method=request.method,
        path=request.path,
        query=scope["query_string"],
        headers=storable_request_headers(scope["headers"], body, settings),
        body=body,
        scheme=request.scheme,
        root_path=request.root_path,
        http_version=request.http_version,
        client=None if client is None else tuple(client),
        server=None if server is None else tuple(server),
        context=context_to_json(context),
    )


def thaw(app: Quart, stored: Request) -> quart.Request:
    """The request as Quart builds it from a connection, with its body there already."""
    scope: Any = {
        "type": "http",
        "asgi": _ASGI,
        "method": stored.method,
        "scheme": stored.scheme,
        "path": stored.root_path + stored.path,
        "query_string": stored.query,
        "root_path": stored.root_path,
        "http_version": stored.http_version,
        "headers": stored.headers,
        "client": stored.client,
        "server": stored.server,
        "extensions": {},
        JOB: True,
    }
    request = app.request_class(
        stored.method,
        stored.scheme,
        stored.path,
        stored.query,
        headers_of_request(app, stored.headers, stored.client, stored.http_version),
        stored.root_path,
        stored.http_version,
        max_content_length=None,
        body_timeout=None,
        send_push_promise=_no_push,
        scope=scope,
    )
    keep_body(request, stored.body)
    return request


@dataclass(frozen=True, slots=True)
class Replay:
    """Performs the jobs of one endpoint: only the view itself, as the hooks ran at submission.

    Attributes:
        view: what stands inside of the decorator.
        threaded: whether its jobs have a slot for one of `threads`, for all in them that is sync.
        before_run: called before the view, in its context.
        max_response: the limit of the response's body, in bytes.
        vanishing: told of what its jobs write to cookies.
    """

    app: Quart
    endpoint: str
    view: View
    threaded: bool
    threads: Threads
    before_run: Sequence[View]
    max_response: int
    vanishing: Vanishing

    async def __call__(self, stored: Request) -> Outcome:
        if self.threaded:
            threads_of_job.set(self.threads)
        try:
            known = context_from_json(stored.context)
        except JobUnreadable as error:
            return Unusable(error)
        request = thaw(self.app, stored)
        context = self.app.request_context(request)
        open_session(self.app, context, stored)
        rule = only_rule(self.app, self.endpoint, known)
        is_led = rule is not None and take_rule(context, rule)
        await context.push()
        # What the view raises is answered in here: the teardown of the context is that of a request
        # that was answered.
        try:
            outcome = await self._perform(request, context, known, is_led=is_led)
        except BaseException as error:
            await self._leave(context, error)
            raise
        await self._leave(context, None)
        return outcome

    async def _perform(
        self, request: quart.Request, context: Any, known: Context, *, is_led: bool
    ) -> Outcome:
        try:
            if not is_led:
                lead_to(self.app, self.endpoint, request, known)
            added = self._added(known, request.method)
        except (JobUnreadable, HandlerGone) as error:
            return Unusable(error)
        current_job.principal = json.loads(bytes(known.principal)) if known.principal else None
        replace_session(self.app, context, self.vanishing, had_data=known.session)
        hide_users(self.app)
        try:
            return await self._respond(request, context, added)
        except OverLimit:
            return self._too_large()
        except BaseException as error:
            # A CancelledError is the job's end if it was told to stop, else the handler's own.
            if isinstance(error, asyncio.CancelledError) and current_job.is_cancelled:
                raise
            return await self._answer_raised(error)

    async def _leave(self, context: Any, error: BaseException | None) -> None:
        """Tear the context down. Whatever that raises, the view has come to what it has come to."""
        try:
            await context.pop(error)
        except BaseException:  # as the runner has it: nothing here may take the server down
            logger.exception(
                "the teardown of job %s has failed; the job ends as its view did", current_job.id
            )

    def _added(self, known: Context, method: str) -> Added:
        if not known.arguments:
            return Added(without=known.without)
        routed = self.app.view_functions[self.endpoint]
        return added_to_call(known, callee_of(routed, self.view, self.endpoint, method))

    async def _respond(self, request: quart.Request, context: Any, added: Added) -> Response:
        describe_to_sentry(request)
        result = await self._call_view(request, added)
        # What the view itself has asked for; the app's hooks ran at submission.
        functions = after_this_request_of(context)
        plain = None if functions else plain_json_of(self.app, result)
        if plain is not None:
            return self._of_json(plain)
        response = await self.app.make_response(result)
        for function in functions:
            response = cast("ResponseTypes", await self.app.ensure_async(function)(response))
        return await self._capture(response)

    def _of_json(self, text: str) -> Response:
        body = text.encode()
        if len(body) > self.max_response:
            raise OverLimit
        return Response(quart.Response.default_status, _JSON, body)

    async def _answer_raised(self, error: BaseException) -> Outcome:
        try:
            answer = await self._capture(await self.app.make_response(await self._answer(error)))
        except OverLimit:
            return self._too_large()
        return answer if isinstance(error, HTTPException) else Raised(answer, in_words(error))

    def _too_large(self) -> Unusable:
        return Unusable(
            ResponseTooLarge(f"the response is over the limit of {self.max_response} bytes")
        )

    async def _call_view(self, request: quart.Request, added: Added) -> Any:
        # Not a hook, but a part of matching the URL: it takes arguments away and fills `g`.
        if any(self.app.url_value_preprocessors.values()):
            preprocess(self.app, request, reversed(request.blueprints))
        for function in self.before_run:
            await self.app.ensure_async(function)()
        take_for_granted(self.app)
        kwargs = added.merged(request.view_args)
        result = await self.threads.call(self.view, *added.args, **kwargs)
        if is_cookie_due(self.app):
            self.vanishing.warn("logs in or out, or renews a login")
        return result

    async def _capture(self, response: ResponseTypes) -> Response:
        body = await drain(response, self.max_response, self.threads, threaded=self.threaded)
        if not 200 <= response.status_code <= 599:
            raise ValueError(f"{response.status_code} is not the status of a result")
        if response.status_code in BODILESS:
            body = b""
        headers = storable_response_headers(encode_headers(response.headers))
        return Response(response.status_code, resolved(headers, current_request()), body)

    async def _answer(self, error: BaseException) -> Any:
        """What the app answers to an exception of the view, by its own error handlers."""
        if isinstance(error, Exception):
            try:
                return await handle_user_exception(self.app, error)
            except Exception as unhandled:
                return await self._answer_unhandled(unhandled)
        return await self._answer_unhandled(error)

    async def _answer_unhandled(self, error: BaseException) -> Any:
        # As `Quart.handle_exception`, but without after_request hooks and the session, which do
        # not belong to a job, and without raising it again in debug and testing.
        if current_job.is_last:
            await got_request_exception.send_async(
                self.app,
                _sync_wrapper=self.app.ensure_async,  # type: ignore[arg-type]
                exception=error,
            )
            log_exception(self.app, error)
        else:
            say_retried(current_job.id, current_job.route, current_job.attempt, error)
        server_error = InternalServerError(
            original_exception=error if isinstance(error, Exception) else None
        )
        handler = error_handler_of(self.app, server_error, quart.request.blueprints)
        if handler is None:
            return server_error
        try:
            return await self.app.ensure_async(handler)(server_error)
        except Exception as in_handler:
            log_exception(self.app, in_handler)
            return server_error


async def _no_push(path: str, headers: Headers) -> None:
    """A job has no connection that a server push could go to."""
