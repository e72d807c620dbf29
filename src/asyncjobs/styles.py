"""What each state of a job looks like on a terminal, in the words of rich."""

from __future__ import annotations

from .job import State

STYLES = {
    State.QUEUED: "yellow",
    State.RUNNING: "cyan",
    State.SUCCEEDED: "green",
    State.FAILED: "red",
    State.CANCELLED: "magenta",
    State.INTERRUPTED: "magenta",
}
