"""Every setting, its type, its default and its meaning, in one table."""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, TypedDict, TypeVar

from .errors import ConfigurationError
from .given import MAX_INT, is_number, is_storable, number, shown
from .job import DEFAULT_TTL, FINAL, State
from .origin import Origin, origin_of
from .store import Store

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")


class Unset(enum.Enum):
    """The type of `UNSET`: an option that was not given, where None is a value."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET

_MIB = 1024 * 1024
#: The most jobs or threads at a time: a query for as many for each route is one for an integer.
MAX_COUNT = 2**31 - 1
#: The most bytes that SQLite keeps in one row.
MAX_BYTES = 10**9
#: What the setting `keep_requests` may say, and in which states a job has no use for its request
#: any more then.
ERASED_IN: Mapping[str, frozenset[State]] = {
    "failed": frozenset({State.SUCCEEDED}),
    "always": frozenset(),
    "never": FINAL,
}
#: The name of a header (RFC 9110, section 5.1).
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def setting(
    default: Any, kind: tuple[type, ...], meaning: str, least: int = 0, most: int = MAX_INT
) -> Any:
    """A field of a dataclass of settings: its default, its types, what it means, its range.

    A float may also be infinite: it stands for no limit wherever seconds are given.
    """
    metadata = {"kind": kind, "meaning": meaning, "least": least, "most": most}
    return field(default=default, metadata=metadata)


SECONDS = (int, float)
MAYBE_SECONDS = (int, float, type(None))
NAMES = (list, tuple, set, frozenset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. Each is a keyword of `Jobs` and `QuartJobs`, and ``QUART_JOBS_<NAME>``.

    Raises:
        ConfigurationError: a value has the wrong type, or is out of range.
    """

    store: str | Store | None = setting(
        None,
        (str, Store, type(None)),
        "where jobs are kept: `sqlite:///jobs.db` (relative to the working directory), "
        "`sqlite:////srv/jobs.db` (absolute), `memory:`, or a `Store`; "
        "unset: `jobs.db` in the app's instance folder, for `Jobs` in the working directory",
    )
    name: str | None = setting(
        None,
        (str, type(None)),
        "the name of the program, for which its jobs are kept: programs of other names that share "
        "the store do not run, show, cancel or end them; unset: the import name of the app, for "
        "`Jobs` that of the module that makes it",
    )
    engine: str = setting("local", (str,), "who runs jobs: `local`, this process")
    prefix: str = setting("/jobs", (str,), "the path that status documents are under")
    concurrency: int = setting(
        100, (int,), "async handlers that one process runs at a time; more jobs queue", 1, MAX_COUNT
    )
    threads: int = setting(
        min(32, (os.cpu_count() or 1) + 4),
        (int,),
        "sync handlers that one process runs at a time; more jobs queue",
        1,
        MAX_COUNT,
    )
    timeout: float | None = setting(
        3600.0,
        MAYBE_SECONDS,
        "seconds that a handler may run; then its job ends with 504; `None` for no limit",
    )
    ttl: float = setting(
        DEFAULT_TTL,
        SECONDS,
        "seconds that a result is kept, from the end of its job; then its id is a 404",
    )
    max_body: int = setting(
        16 * _MIB,
        (int,),
        "bytes of a request body; a larger one is answered with 413, and so is "
        "one over the app's own `MAX_CONTENT_LENGTH`",
        most=MAX_BYTES,
    )
    body_timeout: float = setting(
        60.0, SECONDS, "seconds for a request body to arrive; then the answer is 408"
    )
    max_response: int = setting(
        16 * _MIB,
        (int,),
        "bytes of a handler's response; the job of a larger one ends with 500",
        most=MAX_BYTES,
    )
    max_wait: float = setting(
        30.0,
        SECONDS,
        "seconds that an answer waits for its job at most, by `Prefer: wait=N` or a route's `mode`",
    )
    max_waiting: int = setting(
        10_000,
        (int,),
        "requests that wait for jobs in one process at a time; more are answered at once",
        most=MAX_COUNT,
    )
    max_watching: int = setting(
        10_000,
        (int,),
        "event streams that one process has open at a time; more are answered with 503",
        most=MAX_COUNT,
    )
    max_queued: int = setting(
        10_000,
        (int,),
        "jobs that wait in the queue; one more is answered with 503, unless it starts at once",
        most=MAX_COUNT,
    )
    max_queued_per_owner: int = setting(
        1_000,
        (int,),
        "jobs of one owner that wait in the queue; one more is answered with 429, unless it starts "
        "at once",
        most=MAX_COUNT,
    )
    max_headers: int = setting(
        16 * 1024,
        (int,),
        "bytes of the names and values of a request's headers; one with more is answered with 431",
        most=MAX_BYTES,
    )
    keep_requests: str = setting(
        "failed",
        (str,),
        "whose stored requests are kept for as long as the result: those of jobs that have not "
        "succeeded, for a retry (`failed`), of all (`always`), or none (`never`)",
    )
    shield_time: float = setting(
        10.0,
        SECONDS,
        "seconds that a time-out, a cancellation and the stop of the server wait at most for what "
        "a handler has shielded",
    )
    drain_time: float = setting(
        5.0, SECONDS, "seconds that running jobs have to end when the server stops"
    )
    gone_after: float | None = setting(
        3600.0,
        MAYBE_SECONDS,
        "seconds that a queued job waits for a handler that this program does not have (any "
        "more), before it fails; `None` for ever",
    )
    max_starts: int = setting(
        25,
        (int,),
        "how often a job is started at most, whatever the reasons: one that comes to no end by "
        "then is `interrupted`",
        1,
        MAX_COUNT,
    )
    drop_headers: Collection[str] = setting(
        (),
        NAMES,
        "names of request headers that are not stored, besides those that look like credentials, "
        'such as `["X-Remote-User"]`',
    )
    keep_headers: Collection[str] = setting(
        (),
        NAMES,
        "names of request headers that are stored as they came, although they look like "
        'credentials, such as `["X-Hub-Signature-256"]`; none that belongs to the connection',
    )
    trusted_origins: Collection[str] = setting(
        (),
        NAMES,
        "origins whose pages may cancel and retry jobs, besides that of the request itself, such "
        'as `["https://shop.example"]`: those that CORS allows, and the app\'s own where a proxy '
        "does not pass on `Host` with its port",
    )

    def __post_init__(self) -> None:
        checked(self)
        origins = frozenset(str(_origin(written)) for written in self.trusted_origins)
        object.__setattr__(self, "trusted_origins", origins)
        for names in ("drop_headers", "keep_headers"):
            object.__setattr__(self, names, _header_names(names, getattr(self, names)))
        if both := set(self.drop_headers) & set(self.keep_headers):
            raise ConfigurationError(
                f"drop_headers and keep_headers both name {', '.join(sorted(both))}: take it out "
                "of one of them"
            )
        if self.keep_requests not in ERASED_IN:
            raise ConfigurationError(
                "the setting 'keep_requests' must be one of "
                f"{', '.join(map(repr, ERASED_IN))}, not {shown(self.keep_requests)}"
            )
        if self.engine != "local":
            raise ConfigurationError(f"there is no engine {self.engine!r}: the engine is 'local'")
        if self.name is not None and not (self.name and is_storable(self.name)):
            raise ConfigurationError(
                f"the setting 'name' must be a name that UTF-8 can hold, not {shown(self.name)}"
            )
        if not self.prefix.startswith("/") or self.prefix.endswith("/"):
            raise ConfigurationError(
                f"the prefix {self.prefix!r} must start with a slash and not end with one"
            )


class Options(TypedDict, total=False):
    """The settings as keyword arguments."""

    store: str | Store | None
    name: str | None
    engine: str
    prefix: str
    concurrency: int
    threads: int
    timeout: float | None
    ttl: float
    max_body: int
    body_timeout: float
    max_response: int
    max_wait: float
    max_waiting: int
    max_watching: int
    max_queued: int
    max_queued_per_owner: int
    max_headers: int
    keep_requests: str
    shield_time: float
    drain_time: float
    gone_after: float | None
    max_starts: int
    drop_headers: Collection[str]
    keep_headers: Collection[str]
    trusted_origins: Collection[str]


def make_settings(options: Mapping[str, Any]) -> Settings:
    """Settings from keyword arguments.

    Raises:
        ConfigurationError: one is unknown, has the wrong type, or is out of range.
    """
    return make(Settings, options)


def make(kind: type[T], options: Mapping[str, Any], *besides: str) -> T:
    """A dataclass of settings from keyword arguments.

    Args:
        besides: what else may be said where they come from.

    Raises:
        ConfigurationError: one is unknown, has the wrong type, or is out of range.
    """
    check_names(kind, options, *besides)
    return kind(**options)


def check_names(kind: type[Any], options: Iterable[str], *besides: str) -> None:
    """Check that there are such settings; see `make`.

    Raises:
        ConfigurationError
    """
    known = {known.name for known in fields(kind)}
    for name in options:
        if name not in known:
            raise ConfigurationError(
                f"there is no setting {name!r}; the settings are: "
                f"{', '.join(sorted({*known, *besides}))}"
            )


def checked(settings: DataclassInstance) -> None:
    """Check each field that was made by `setting`.

    Raises:
        ConfigurationError
    """
    for each in fields(settings):
        _check(each.name, getattr(settings, each.name), each.metadata)


def _check(name: str, value: Any, metadata: Mapping[str, Any]) -> None:
    kind = metadata["kind"]
    # bool is an int to Python, but `threads=True` is a mistake.
    if not isinstance(value, kind) or (isinstance(value, bool) and bool not in kind):
        names = ["None" if k is type(None) else k.__name__ for k in kind if k is not Unset]
        expected = " or ".join(names)
        raise ConfigurationError(f"the setting {name!r} must be {expected}, not {shown(value)}")
    if is_number(value):
        _check_range(name, value, metadata["least"], metadata["most"])


def _header_names(setting: str, names: Collection[Any]) -> frozenset[str]:
    for name in names:
        if not (isinstance(name, str) and _HEADER_NAME.fullmatch(name)):
            raise ConfigurationError(
                f"the setting {setting!r} must have names of headers, such as 'X-Tenant': "
                f"{shown(name)} is none"
            )
    return frozenset(name.lower() for name in names)


def _origin(written: Any) -> Origin:
    if written == "*":
        raise ConfigurationError(
            "the setting 'trusted_origins' must name each origin: with '*' every page on the web "
            "could cancel or retry the jobs of whoever looks at it"
        )
    origin = origin_of(written) if isinstance(written, str) else None
    if origin is None:
        raise ConfigurationError(
            "the setting 'trusted_origins' must have origins, such as 'https://shop.example' or "
            f"'http://localhost:5173', with no path and no '*': {shown(written)} is none"
        )
    return origin


def _check_range(name: str, value: float, least: int, most: int) -> None:
    if value < least:
        raise ConfigurationError(
            f"the setting {name!r} must be at least {least}, not {shown(value)}"
        )
    if isinstance(value, int) and value > most:
        raise ConfigurationError(f"the setting {name!r} must be at most {most}, not {shown(value)}")
    try:
        number(f"the setting {name!r}", value, infinite=True)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
