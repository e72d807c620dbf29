"""What a harness has seen, in numbers and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .facts import Facts
from .promises import PROMISES, Broken, broken_promises, lost, sentence


@dataclass(frozen=True, kw_only=True)
class Report:
    """The sum of all epochs so far.

    Attributes:
        seconds: that the torture took, without what came after it.
        deaths: by what the processes died of.
        at_once: results that were told by the requests that made their jobs, and count as answers.
        unknown: jobs that nobody was told of, as their clients were cut off, or had hung up.
        states: of all jobs in the end, those that nobody was told of included.
        lost: jobs that may be repeated, and ended as interrupted, but for those that take their
            processes down.
        effects: how often a handler began.
        reruns: how often a job's handler began anew.
        pick_ups: seconds from a death to a write that took a job from the dead process; without
            those of processes that were stopped in between.
        late_pick_ups: the same for what was taken by a process that was started after the death.
    """

    seconds: float = 0.0
    deaths: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    answers: int = 0
    at_once: int = 0
    unknown: int = 0
    states: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    effects: int = 0
    reruns: int = 0
    pick_ups: Sequence[float] = ()
    late_pick_ups: Sequence[float] = ()
    broken: Sequence[Broken] = ()

    @property
    def kills(self) -> int:
        return self.deaths.total()

    def __add__(self, other: Report) -> Report:
        return Report(
            seconds=self.seconds + other.seconds,
            deaths=self.deaths + other.deaths,
            acknowledged=self.acknowledged + other.acknowledged,
            answers=self.answers + other.answers,
            at_once=self.at_once + other.at_once,
            unknown=self.unknown + other.unknown,
            states=self.states + other.states,
            lost=self.lost + other.lost,
            effects=self.effects + other.effects,
            reruns=self.reruns + other.reruns,
            pick_ups=[*self.pick_ups, *other.pick_ups],
            late_pick_ups=[*self.late_pick_ups, *other.late_pick_ups],
            broken=[*self.broken, *other.broken],
        )

    def lines(self) -> Iterator[str]:
        """The report, for people."""
        rate = self.kills / self.seconds * 60 if self.seconds else 0.0
        yield f"kills: {self.kills} in {self.seconds:.0f} s, {rate:.0f} a minute"
        yield f"killed at: {_by(self.deaths)}"
        yield f"jobs acknowledged: {self.acknowledged}; made, and told to nobody: {self.unknown}"
        yield f"results given to clients: {self.answers}, in one request: {self.at_once}"
        yield f"jobs in the end: {_by(self.states)}; innocents lost: {self.lost}"
        yield f"handlers begun: {self.effects}, of which reruns: {self.reruns}"
        yield f"pick-up of a dead process's jobs by a living one: {_times(self.pick_ups)}"
        yield f"pick-up by one that was started after: {_times(self.late_pick_ups)}"
        broken = Counter(broken.promise for broken in self.broken)
        yield "how often each promise was broken:"
        for promise in PROMISES:
            yield f"{broken[sentence(promise)]:6}  {sentence(promise)}"


def report_of(facts: Facts, seconds: float, *, without: str = "") -> Report:
    """What the facts come to.

    Args:
        without: a kind of death that does not count.
    """
    records = facts.records
    deaths = [facts.killed(pid) for pid in {signalled.pid for signalled in records.signals}]
    begun = [effect for effect in records.effects if effect.what == "begin"]
    joined = {joined.pid: joined.at for joined in records.joined}
    pick_ups = [
        (entry.at - death.at, joined[entry.pid] > death.at)
        for entry, runner in facts.takes()
        if entry.pid != runner
        and (death := facts.killed(runner))
        and not facts.stood_still(entry.pid, death.at, entry.at)
    ]
    return Report(
        seconds=seconds,
        deaths=Counter(death.kind for death in deaths if death and death.kind != without),
        acknowledged=len(records.acks),
        answers=len(records.answers),
        at_once=sum(answer.at_once for answer in records.answers),
        unknown=len(facts.stored.keys() - {ack.id for ack in records.acks}),
        states=Counter(stored.job.state.value for stored in facts.stored.values()),
        lost=len(lost(facts)),
        effects=len(begun),
        reruns=len(begun) - len({effect.id for effect in begun}),
        pick_ups=[time for time, late in pick_ups if not late],
        late_pick_ups=[time for time, late in pick_ups if late],
        broken=broken_promises(facts),
    )


def _by(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


def _times(seconds: Sequence[float]) -> str:
    times = sorted(seconds)
    if not times:
        return "none"
    p50, p99 = (times[int((len(times) - 1) * share)] for share in (0.5, 0.99))
    return f"{len(times)}, p50 {p50:.2f} s, p99 {p99:.2f} s, max {times[-1]:.2f} s"
