"""Damage x when x the right outcome: either the store is whole, or it says what is wrong.

The table is that of the harness (`asyncjobs.torture.damages`), which plants the same by chance, and
in larger stores.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from asyncjobs.torture import damage
from asyncjobs.torture.damage import Case, all_cases, observed
from asyncjobs.torture.damages import DAMAGES


@pytest.mark.parametrize("case", all_cases(), ids=str)
async def test_nothing_disappears_without_a_word(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is done to the files: what was acknowledged is there, or somebody says that it is
    not, and what to do."""
    monkeypatch.setattr(damage, "ACKS_BEFORE", (20, 60))
    monkeypatch.setattr(damage, "ACKS_AFTER", 30)
    outcome, evidence = await observed(case, tmp_path, Random(str(case)))
    assert outcome in DAMAGES[case.damage].outcomes[case.when], evidence
