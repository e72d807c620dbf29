"""Bugs in what comes on top of submissions and polls: keys, tags, lists, operators, limits.

Each is put in the place of a function, or around one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from quart import Quart, Response, has_request_context, request

from asyncjobs import transitions
from asyncjobs.backlog import Backlog
from asyncjobs.control import Control
from asyncjobs.errors import InvalidTransition, KeyReused
from asyncjobs.job import Job, State
from asyncjobs.jobs import Jobs
from asyncjobs.key import DIGEST_BYTES, Key, key_of_client
from asyncjobs.listing import Cursor, Listing, Page
from asyncjobs.store import ANYONE, Owner
from asyncjobs.web.answering import answers, app_side, known, lists, repeats, submission
from asyncjobs.web.answering.exchange import Wait
from asyncjobs.web.answering.lists import Lists
from asyncjobs.web.answering.steering import Steering
from asyncjobs.web.background import replay
from asyncjobs.web.callers.operator import Right
from asyncjobs.web.http.conditional import is_held
from asyncjobs.web.http.headers import storable_request_headers

Plant = Callable[[Quart], None]
#: What `Jobs.accept` returns.
Accepted = tuple[Job, bool]


def instead(holder: Any, name: str, function: Any) -> Plant:
    """A bug: something else is done."""
    return lambda app: setattr(holder, name, function)


def made_of(holder: Any, name: str, change: Callable[[Any], Any]) -> Plant:
    """A bug: what a function returns is made another thing."""
    rightly = getattr(holder, name)

    def changed(*args: Any, **kwargs: Any) -> Any:
        return change(rightly(*args, **kwargs))

    return lambda app: setattr(holder, name, changed)


def headers_changed(change: Callable[[Response], None]) -> Plant:
    """A bug in the headers of all answers."""

    async def changed(response: Response) -> Response:
        change(response)
        return response

    def plant(app: Quart) -> None:
        app.after_request(changed)

    return plant


# Keys.


def accepting(accept: Callable[..., Awaitable[Accepted]]) -> Plant:
    """A bug in what makes a job of a request: `accept` is given what does it rightly."""
    rightly = Jobs.accept

    async def careless(self: Jobs, route: str, request: Any, **options: Any) -> Accepted:
        return await accept(rightly, self, route, request, **options)

    return instead(Jobs, "accept", careless)


async def _forget_key(accept: Any, *args: Any, key: Key | None = None, **options: Any) -> Accepted:
    """It is known what a key is, and that is all."""
    return await accept(*args, **options)  # type: ignore[no-any-return]


_HOLDERS: dict[bytes, str] = {}


async def _race(
    accept: Any, self: Jobs, *args: Any, key: Key | None = None, **options: Any
) -> Accepted:
    """Whoever has a key is looked up, and is noted when its job is stored."""
    if key is not None and key.fingerprint is not None and key.digest in _HOLDERS:
        return await self.get(_HOLDERS[key.digest]), False
    accepted: Accepted = await accept(self, *args, **options)
    if key is not None and key.fingerprint is not None:
        _HOLDERS[key.digest] = accepted[0].id
    return accepted


async def _refuse_and_make(
    accept: Any, *args: Any, key: Key | None = None, **options: Any
) -> Accepted:
    """Another request is refused, and becomes a job."""
    try:
        return await accept(*args, key=key, **options)  # type: ignore[no-any-return]
    except KeyReused:
        await accept(*args, **options)
        raise


def _is_taken(self: Key, state: State, fingerprint: bytes | None) -> bool:
    """Whatever has become of its job."""
    if self.fingerprint != fingerprint:
        raise KeyReused("another request has it")
    return True


def _for_any_request(key: Key) -> Key:
    return replace(key, fingerprint=bytes(DIGEST_BYTES))


def _of_anybody(key: Callable[..., Any]) -> Callable[..., Any]:
    """The owner is no part of what a key is for."""

    def careless(said: str, frozen: Any, program: Any, owner: Any, *scope: Any) -> Key:
        return key(said, frozen, program, None, *scope)  # type: ignore[no-any-return]

    return careless


def _no_replay(response: Response) -> None:
    response.headers.pop("Idempotent-Replayed", None)


# Tags.


def _held_whatever(status: int, etag: str, tags: Any) -> bool:
    """An answer that fails is as good as any."""
    return is_held(200, etag, tags)


def _held_if_any(status: int, etag: str, tags: Any) -> bool:
    """Who has some answer has this one."""
    return 200 <= status < 300


def _held_strongly(status: int, etag: str, tags: Any) -> bool:
    """A weak tag is none."""
    strong = type(tags)(tags.as_set(), (), tags.star_tag)
    return is_held(status, etag, strong)


def holding(held: Callable[..., bool]) -> Plant:
    """A bug in which answers a client is taken to have."""

    def plant(app: Quart) -> None:
        for holder in (answers, known):
            setattr(holder, "is_held", held)  # noqa: B010 - which is not theirs

    return plant


def tag_states(app: Quart) -> None:
    """A status document has the same tag for as long as the job is in that state."""
    told = answers.told

    def careless(job: Job, *args: Any, **options: Any) -> answers.Told:
        return told(job, *args, **options)._replace(etag=f'"{job.id}.{job.state}"')

    answers.told = careless


def keep_what_was_read(app: Quart) -> None:
    """A cache of the jobs that are looked at: one that runs does so for a while."""
    get = Jobs.get
    kept: dict[tuple[str, Owner], Job] = {}

    async def careless(self: Jobs, job_id: str, *, owner: Owner = ANYONE) -> Job:
        if not has_request_context() or "Prefer" in request.headers:
            return await get(self, job_id, owner=owner)
        job = kept.get((job_id, owner))
        if job is None:
            job = await get(self, job_id, owner=owner)
            if job.state is State.RUNNING:
                kept[job_id, owner] = job
        return job

    Jobs.get = careless  # type: ignore[method-assign]


def wait_for_ends_alone(app: Quart) -> None:
    """Another version is not waited for."""
    over = Wait.over

    async def careless(self: Wait) -> None:
        if not self.is_for_change:
            await over(self)

    Wait.over = careless  # type: ignore[method-assign]


# Lists.


async def _everybodys(self: Lists, right: Right | None) -> Owner:
    """Whoever asks."""
    return ANYONE


async def _nobodys(self: Lists, right: Right | None) -> Owner:
    """Who is nobody in particular has the jobs of such."""
    return ANYONE if right is not None else await self.side.owner()


def listing(change: Callable[[Listing], Listing], page: Callable[[Listing, Page], Page]) -> Plant:
    """A bug in a page of the list.

    Args:
        change: makes of what is asked for what is looked for.
        page: makes of that, and of the page, what is told.
    """
    rightly = Jobs.list

    async def careless(self: Jobs, wanted: Listing | None = None) -> Page:
        wanted = wanted or Listing()
        return page(wanted, await rightly(self, change(wanted)))

    return instead(Jobs, "list", careless)


def _as_asked(wanted: Listing, page: Page | None = None) -> Any:
    return wanted if page is None else page


def _of_all(wanted: Listing) -> Listing:
    return replace(wanted, owner=ANYONE)


def _own_of(wanted: Listing, page: Page) -> Page:
    jobs = [job for job in page.jobs if wanted.owner in (ANYONE, job.owner)]
    return Page(jobs, page.next)


def _without_last(wanted: Listing, page: Page) -> Page:
    return page if page.next is None else Page(page.jobs[:-1], page.next)


def _and_again(wanted: Listing, page: Page) -> Page:
    """The next page begins a place too early."""
    if page.next is None or len(page.jobs) < 2:
        return page
    return Page(page.jobs, Cursor(page.next.created, page.next.number + 1))


def _without_reason(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "reason"}


async def _let_in(*args: Any) -> bool:
    """No guard is asked for a list."""
    return True


def tell_owners(app: Quart) -> None:
    """Whose a job is, is told to whoever may see it."""
    document_of = answers.document_of

    def careless(job: Job, links: Any, *, with_owner: bool) -> dict[str, Any]:
        return document_of(job, links, with_owner=True)

    answers.document_of = careless


def hide_owners(app: Quart) -> None:
    """An operator is not told whose a job is at its own URL."""
    told = answers.told

    def careless(job: Job, links: Any, ahead: Any, *, with_owner: bool) -> Any:
        return told(job, links, ahead, with_owner=False)

    answers.told = careless


# Operators and retries.


def _steering_right(said: Any) -> Right | None:
    """Who may look may do the rest as well."""
    return Right.STEER if said else None


def _right_of_all(said: Any) -> Right | None:
    """Everybody may look."""
    return Right.STEER if said == "steer" else Right.VIEW


def refuse_and_cancel(app: Quart) -> None:
    """Who may only look is told so, too late."""
    steer = Steering._steer

    async def careless(self: Steering, step: Any, jobs: Jobs, job: Job, *args: Any) -> Response:
        try:
            return await steer(self, step, jobs, job, *args)
        finally:
            if Right.VIEW in args and not job.state.is_final:
                await step(job.id)

    Steering._steer = careless  # type: ignore[assignment,method-assign]


def retrying(of: State, retry: Callable[[Control, Job], Awaitable[Job]]) -> Plant:
    """A bug in how a job in that state is retried."""
    rightly = Control.retry

    async def careless(self: Control, job_id: str, *, owner: Owner = ANYONE) -> Job:
        job = await self.get(job_id, owner=owner)
        if job.state is of:
            return await retry(self, job)
        return await rightly(self, job_id, owner=owner)

    return instead(Control, "retry", careless)


async def _retry_success(control: Control, job: Job) -> Job:
    new = transitions.retry(job._replace(state=State.FAILED), control._store.now())
    await control._store.replace(job, new)
    return new


async def _refuse_retry(control: Control, job: Job) -> Job:
    raise InvalidTransition(f"the job is {job.state} and cannot be retried")


async def _retry_as_it_is(control: Control, job: Job) -> Job:
    """It keeps when it has ended, although it has not."""
    new = transitions.retry(job, control._store.now())._replace(finished=job.finished)
    await control._store.replace(job, new)
    return new


# Cancel-After.


def _half(seconds: float) -> float:
    return seconds / 2


async def _without_end(
    accept: Any, self: Jobs, *args: Any, cancel_at: float | None = None, **options: Any
) -> Accepted:
    """So long a time is as good as none."""
    if cancel_at is not None and cancel_at > self.now() + 1000:
        cancel_at = None
    return await accept(self, *args, cancel_at=cancel_at, **options)  # type: ignore[no-any-return]


async def _start_overdue(
    accept: Any, *args: Any, cancel_at: float | None = None, **options: Any
) -> Accepted:
    """Whose time is over already is given a moment."""
    return await accept(  # type: ignore[no-any-return]
        *args, cancel_at=cancel_at and cancel_at + 0.05, **options
    )


# Limits.


def _of_any_size(pairs: Any, body: bytes, settings: Any) -> Any:
    return _STORABLE(pairs, body, replace(settings, max_headers=2**30))


_STORABLE = storable_request_headers


async def _without_limit(self: Backlog, owner: str | None) -> Callable[[], None]:
    """The queue takes whatever comes."""
    return lambda: None


def refuse_early(app: Quart) -> None:
    """A queue of a few is full."""
    begin = Backlog.__init__

    def careless(self: Backlog, *args: Any, **limits: Any) -> None:
        begin(self, *args, **{**limits, "most": 5, "most_of_owner": 3})

    Backlog.__init__ = careless  # type: ignore[method-assign]


def _no_type_error(written: str) -> Cursor:
    """Nobody has thought of a cursor that is none."""
    raise TypeError(f"{written} is none")


#: By its name: what plants the bug in an app.
SURFACE_BUGS: dict[str, Plant] = {
    "key-forgotten": accepting(_forget_key),
    "key-noted-too-late": accepting(_race),
    "key-of-route-for-good": instead(Key, "is_taken_by", _is_taken),
    "key-for-any-request": made_of(repeats, "key_of_client", _for_any_request),
    "key-of-anybody": instead(repeats, "key_of_client", _of_anybody(key_of_client)),
    "repeats-are-not-told": headers_changed(_no_replay),
    "refused-and-made": accepting(_refuse_and_make),
    "failures-not-modified": holding(_held_whatever),
    "any-tag-not-modified": holding(_held_if_any),
    "weak-tags-are-none": holding(_held_strongly),
    "tag-of-the-state": tag_states,
    "status-of-before": keep_what_was_read,
    "not-held": wait_for_ends_alone,
    "list-of-everybody": instead(Lists, "_owner", _everybodys),
    "list-of-nobody": instead(Lists, "_owner", _nobodys),
    "cursor-behind-others": listing(_of_all, _own_of),
    "list-in-any-state": listing(lambda wanted: replace(wanted, states=None), _as_asked),
    "list-too-long": listing(lambda wanted: replace(wanted, limit=wanted.limit + 1), _as_asked),
    "page-without-its-last": listing(_as_asked, _without_last),
    "page-begins-too-early": listing(_as_asked, _and_again),
    "list-without-reasons": made_of(answers, "document_of", _without_reason),
    "list-unguarded": instead(lists, "lets_in", _let_in),
    "owners-told-to-owners": tell_owners,
    "owners-not-told": hide_owners,
    "viewers-steer": instead(app_side, "right_of", _steering_right),
    "everybody-views": instead(app_side, "right_of", _right_of_all),
    "refused-and-cancelled": refuse_and_cancel,
    "success-is-retried": retrying(State.SUCCEEDED, _retry_success),
    "cancelled-is-not-retried": retrying(State.CANCELLED, _refuse_retry),
    "retried-as-it-was": retrying(State.CANCELLED, _retry_as_it_is),
    "cancelled-early": made_of(submission, "cancel_after", _half),
    "cancel-after-forgotten": accepting(_without_end),
    "overdue-is-started": accepting(_start_overdue),
    "headers-of-any-size": instead(replay, "storable_request_headers", _of_any_size),
    "queue-without-end": instead(Backlog, "add", _without_limit),
    "queue-full-early": refuse_early,
    "cursor-raises": instead(Cursor, "from_text", staticmethod(_no_type_error)),
}
