"""huey, behind the contract."""

from __future__ import annotations

from typing import Any

from ..huey_at import huey
from .contract import DONE, contract


@huey.task()
def job(payload: Any) -> dict[str, Any]:
    return DONE


def submit(payload: Any) -> str:
    return job(payload).id


def result(task_id: str) -> Any:
    return huey.result(task_id, preserve=True)


app = contract(submit, result)
