"""Ids as people write them: by their first digits, as long as no other job has the same."""

from __future__ import annotations

import re
from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem

from ..errors import JobNotFound
from ..given import shown
from ..store import Store

#: So many digits of an id are asked for at least, and shown.
LEAST = 8
_WHOLE = 32
#: So many jobs are named whose ids begin alike.
_NAMED = 10
_DIGITS = re.compile(f"[0-9a-f]{{{LEAST},{_WHOLE}}}")


def one_id(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """The digits that an argument has, in any case, and with the dashes of a UUID."""
    digits = value.replace("-", "").lower()
    if not _DIGITS.fullmatch(digits):
        raise click.BadParameter(
            f"{shown(value)} is no id of a job: it has {_WHOLE} hex digits, of which the first "
            f"{LEAST} or more are enough"
        )
    return digits


def maybe_id(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The same, of an argument that may be left out."""
    return None if value is None else one_id(ctx, param, value)


def ids(ctx: click.Context, param: click.Parameter, value: Iterable[str]) -> tuple[str, ...]:
    """The same, for any number of them."""
    return tuple(one_id(ctx, param, each) for each in value)


def complete_id(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """What a TAB makes of an id."""
    from .completion import jobs_for

    return jobs_for(ctx, incomplete)


async def whole_id(store: Store, begun: str) -> str:
    """The id of the one job whose id begins so.

    Raises:
        click.UsageError: there are several.
        JobNotFound: there is none.
    """
    if len(begun) == _WHOLE:
        return begun
    found = await store.ids(begun, _NAMED)
    if not found:
        raise JobNotFound(f"there is no job whose id begins with {begun}")
    if len(found) > 1:
        raise click.UsageError(
            f"several jobs have ids that begin with {begun}, write more of it: {', '.join(found)}"
        )
    return found[0]


async def short_ids(store: Store, job_ids: Iterable[str]) -> dict[str, str]:
    """As much of each id as no other job of the store has as well."""
    return {job_id: await _short(store, job_id) for job_id in job_ids}


async def _short(store: Store, job_id: str) -> str:
    alike = [other for other in await store.ids(job_id[:LEAST], _WHOLE) if other != job_id]
    length = LEAST
    while any(other.startswith(job_id[:length]) for other in alike):
        length += 1
    return job_id[:length]
