"""Who is measured, how each is configured, and what is durable when its 202 is sent."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

#: Those of the environment that the bench runs in, for all.
WEB = (f"quart=={version('quart')}", f"hypercorn=={version('hypercorn')}")
REDIS = "redis[hiredis]"
HYPERCORN = (
    *("-m", "hypercorn", "{app}", "--bind", "127.0.0.1:{port}", "--workers", "1"),
    *("--log-level", "warning", "--config", "hypercorn.toml"),
)
GUNICORN = (
    *("-m", "gunicorn", "{app}", "--bind", "127.0.0.1:{port}", "--workers", "1"),
    *("--threads", "16", "--keep-alive", "60", "--log-level", "warning"),
)


@dataclass(frozen=True)
class Keeper:
    """What keeps the jobs.

    Attributes:
        durable: what is durable when the 202 is sent.
        redis: options of the Redis, or None if there is none.
    """

    title: str
    durable: str
    redis: tuple[str, ...] | None = None


RDB = Keeper("Redis as it comes", "nothing until the next RDB save, in a minute to an hour", ())
AOF = Keeper(
    "Redis, `appendfsync always`",
    "the job, on disk",
    ("--appendonly", "yes", "--appendfsync", "always"),
)
SQLITE = Keeper("SQLite, `fsync`", "the job, on disk")
LOG = Keeper("SQLite", "the job, on disk (`fdatasync` of the log)")
AT_ONCE = Keeper("SQLite", "there is no 202: with the result, the job and its result, on disk")
DICT = Keeper("a dictionary", "nothing, ever")


@dataclass(frozen=True)
class Peer:
    """A library, and the programs that are served and run.

    Attributes:
        name: of its environment and of its modules in `apps` and `embedded`.
        packages: that its environment has besides, the first one under which it is known; none if
            it is the environment of the bench itself.
        shown: distributions whose versions are told.
        settings: what is said of them beside the figures.
        web: arguments of its Python for the server.
        worker: arguments of its Python for the worker; none if the server runs the jobs.
        keepers: for each of them it is measured over HTTP.
        embedded: for each of them it is measured in one program.
    """

    name: str
    title: str
    packages: tuple[str, ...]
    shown: tuple[str, ...]
    settings: str
    keepers: tuple[Keeper, ...]
    web: tuple[str, ...] = HYPERCORN
    worker: tuple[str, ...] = ()
    embedded: tuple[Keeper, ...] = ()

    @property
    def app(self) -> str:
        return f"bench.peers.apps.{self.name}:app"


OURS = Peer(
    "ours",
    "asyncjobs",
    packages=(),
    shown=("quart-asyncjobs", "quart", "hypercorn"),
    settings="as it comes: the process that serves runs the jobs",
    keepers=(LOG,),
    embedded=(LOG,),
)
PEERS = (
    Peer(
        "saq",
        "SAQ",
        ("saq[redis]", REDIS, "typing-extensions", *WEB),
        ("saq", "redis", "hiredis"),
        "`concurrency=20`, blocks on Redis as it comes (`dequeue_timeout=0`)",
        keepers=(RDB, AOF),
        worker=("-m", "saq", "bench.peers.apps.saq.settings"),
        embedded=(AOF,),
    ),
    Peer(
        "arq",
        "arq",
        ("arq", REDIS, *WEB),
        ("arq", "redis", "hiredis"),
        "`poll_delay=0.005` (0.5 as it comes), `max_jobs=100`",
        keepers=(RDB, AOF),
        worker=("-m", "bench.peers.apps.arq"),
        embedded=(AOF,),
    ),
    Peer(
        "taskiq",
        "taskiq",
        ("taskiq-redis", REDIS, *WEB),
        ("taskiq", "taskiq-redis", "redis", "hiredis"),
        "`RedisStreamBroker`, `--workers 1`, 100 async tasks as it comes",
        keepers=(RDB, AOF),
        worker=(
            *("-m", "taskiq", "worker", "--workers", "1", "--log-level", "WARNING"),
            "bench.peers.apps.taskiq:broker",
        ),
    ),
    Peer(
        "celery",
        "Celery",
        ("celery[redis]", REDIS, *WEB),
        ("celery", "kombu", "redis", "hiredis"),
        "`-P threads -c 16 --without-gossip --without-mingle`, `worker_prefetch_multiplier=64`; "
        "Quart runs its sync calls in threads",
        keepers=(RDB, AOF),
        worker=(
            *("-m", "celery", "-A", "bench.peers.apps.celery:celery", "worker", "-P", "threads"),
            *("-c", "16", "--without-gossip", "--without-mingle", "-l", "WARNING"),
        ),
    ),
    Peer(
        "huey",
        "huey",
        ("huey", REDIS, *WEB),
        ("huey", "redis", "hiredis"),
        "`-k thread -w 4`, polls SQLite with `-d 0.005 -m 0.005` (0.1 to 10 as it comes); Quart "
        "runs its sync calls in threads",
        keepers=(RDB, AOF, SQLITE),
        worker=(
            *("-m", "huey.bin.huey_consumer", "bench.peers.apps.huey.huey", "-q", "-k", "thread"),
            *("-w", "4", "-d", "0.005", "-m", "0.005"),
        ),
        embedded=(AOF, SQLITE),
    ),
    Peer(
        "article",
        "the article's Flask",
        ("flask", "gunicorn"),
        ("flask", "gunicorn"),
        "a thread for each job; gunicorn with one worker of 16 threads, as the dictionary is in "
        "one process",
        keepers=(DICT,),
        web=GUNICORN,
    ),
)
