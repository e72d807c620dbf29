"""How a command ends: the exit codes, and the one line that says why."""

from __future__ import annotations

import enum

import click

from ..errors import (
    AsyncJobsError,
    ConfigurationError,
    InvalidTransition,
    JobNotFound,
    SetupError,
    StoreError,
    StoreExposed,
    StoreTooNew,
    StoreTooOld,
)
from ..given import printable


class Exit(enum.IntEnum):
    """The exit codes. Of several jobs the largest counts."""

    OK = 0
    JOB_FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNAVAILABLE = 4
    REFUSED = 5
    INTERRUPTED = 130


class Failure(click.ClickException):
    """Ends the command with this code and a line on standard error."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(printable(message))
        self.exit_code = code  # type: ignore[misc] # to click it is the class's


def code_of(error: AsyncJobsError) -> Exit:
    """What a command ends with because of `error`."""
    match error:
        case JobNotFound():
            return Exit.NOT_FOUND
        case InvalidTransition() | StoreExposed() | StoreTooNew() | StoreTooOld():
            return Exit.REFUSED
        case StoreError():
            return Exit.UNAVAILABLE
        case ConfigurationError() | SetupError():
            return Exit.USAGE
    return Exit.UNAVAILABLE
