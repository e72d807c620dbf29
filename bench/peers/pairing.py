"""Rounds of a peer and of ours by turns, as the machine may be busy with other things too."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from .table import Round, Row

#: What a peer may fail by: what it writes, what it answers, what it does not.
FAILURES = (RuntimeError, OSError, EOFError, subprocess.TimeoutExpired)


def paired(
    title: str,
    durable: str,
    count: int,
    rounds: tuple[Callable[[], Round], Callable[[], Round]],
    said: Callable[[str], None],
) -> Row:
    """So many rounds of ours and then of theirs. A pair of which one fails does not count.

    Raises:
        RuntimeError: all have failed.
    """
    measure_ours, measure_theirs = rounds
    pairs = []
    for number in range(1, count + 1):
        try:
            ours, theirs = measure_ours(), measure_theirs()
        except FAILURES as error:
            said(f"{title}, round {number} failed: {error}")
            continue
        pairs.append((ours, theirs))
        said(f"{title}, round {number}: {theirs.rate:.0f} jobs/s, ours {ours.rate:.0f}")
    if not pairs:
        raise RuntimeError("all of its rounds have failed")
    failed = count - len(pairs)
    title += f" ({failed} of {count} rounds failed)" if failed else ""
    return Row(title, durable, tuple(b for _, b in pairs), tuple(a for a, _ in pairs))
