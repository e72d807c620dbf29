"""The app that all peers stand behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quart import Quart, request

#: What each job returns.
DONE = {"Result": True}


def contract(submit: Callable[[Any], Any], result: Callable[[str], Any]) -> Quart:
    """``POST /job`` answers 202 with an id, ``GET /job/<id>`` 202 until there is the result.

    Args:
        submit: takes the JSON of the submission, and returns the id of the job.
        result: what the job has returned, or None if it has not yet. Both may be sync: Quart runs
            them in a thread.
    """
    app = Quart("peer")
    submit, result = app.ensure_async(submit), app.ensure_async(result)

    @app.post("/job")
    async def job():
        return {"TaskId": await submit(await request.get_json())}, 202

    @app.get("/job/<task_id>")
    async def job_result(task_id: str):
        found = await result(task_id)
        return ({"TaskId": task_id}, 202) if found is None else found

    return app
