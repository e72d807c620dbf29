"""Whose a job is."""

from __future__ import annotations

import enum
from typing import Final, Literal


class _Anyone(enum.Enum):
    ANYONE = "anyone"

    def __repr__(self) -> str:
        return "ANYONE"


#: Stands for "whoever the owner is", which None cannot: None is a job that nobody owns.
ANYONE: Final = _Anyone.ANYONE
Owner = str | None | Literal[_Anyone.ANYONE]
