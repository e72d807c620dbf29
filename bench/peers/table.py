"""What was measured, as the tables of docs/performance.md."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.percentiles import percentile, tail


@dataclass(frozen=True)
class Round:
    """What one round measured.

    Attributes:
        rate: jobs a second, as many as there can be.
        cpu: seconds of processor time a job, of all processes but the client's.
        requests: of HTTP a job; 0 if there was none.
        accepted: seconds from when the submission was due to the 202, for each job at a low rate
            that was answered by one: none where the first answer is the result.
        results: seconds from then to the result, likewise; in one program, from the submission.
    """

    rate: float
    cpu: float
    requests: float
    accepted: tuple[float, ...]
    results: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """The rounds of a peer, each with the one of ours that was measured next to it."""

    title: str
    durable: str
    rounds: tuple[Round, ...]
    ours: tuple[Round, ...]


def http_table(rows: Iterable[Row]) -> str:
    head = (
        "over HTTP",
        "jobs/s",
        "CPU a job",
        "requests a job",
        "202",
        "result",
        "durable when the 202 is sent",
    )
    return _table(head, (_http_cells(row) for row in rows))


def embedded_table(rows: Iterable[Row]) -> str:
    head = (
        "in one program",
        "jobs/s",
        "CPU a job",
        "result",
        "durable when it is submitted",
    )
    return _table(head, (_embedded_cells(row) for row in rows))


def version_table(rows: Iterable[tuple[str, dict[str, str], str]]) -> str:
    """Of each peer its title, its versions and its settings."""
    lines = ((title, _versions(found), settings) for title, found, settings in rows)
    return _table(("", "versions", "settings"), lines)


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """The median of the ratios of the pairs."""
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def _http_cells(row: Row) -> tuple[str, ...]:
    requests = statistics.median(each.requests for each in row.rounds)
    accepted = _percentiles(row, lambda each: each.accepted)
    return row.title, *_throughput(row), f"{requests:.1f}", accepted, _results(row), row.durable


def _embedded_cells(row: Row) -> tuple[str, ...]:
    return row.title, *_throughput(row), _results(row), row.durable


def _throughput(row: Row) -> tuple[str, str]:
    rates, cpus = [each.rate for each in row.rounds], [each.cpu for each in row.rounds]
    rate = ratio(rates, [each.rate for each in row.ours])
    cpu = ratio(cpus, [each.cpu for each in row.ours])
    return (
        f"{statistics.median(rates):,.0f} ({rate:.2f})",
        f"{statistics.median(cpus) * 1e3:.2f} ms ({cpu:.2f})",
    )


def _results(row: Row) -> str:
    return _percentiles(row, lambda each: each.results)


def _percentiles(row: Row, times: Callable[[Round], Sequence[float]]) -> str:
    """Of the jobs of all rounds together, as far as they can be told, and what they are of ours."""
    theirs, ours = (
        [seconds for each in rounds for seconds in times(each)] for rounds in (row.rounds, row.ours)
    )
    if not theirs:
        return "none"
    percents = sorted({50, tail(min(len(theirs), len(ours)))})
    found = [(each, percentile(theirs, each), percentile(ours, each)) for each in percents]
    return (
        f"{', '.join(f'p{each} {a * 1e3:.1f}' for each, a, _ in found)} ms "
        f"({', '.join(f'{a / b:.2f}' for _, a, b in found)})"
    )


def _versions(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
