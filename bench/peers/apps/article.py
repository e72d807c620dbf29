"""The pattern of the article "Background tasks in flask": a thread a job, and a dictionary."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Flask, abort, current_app, request
from werkzeug.exceptions import HTTPException, InternalServerError

app = Flask(__name__)
tasks: dict[str, dict[str, Any]] = {}


def flask_async(f: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        def task(app: Flask, environ: dict[str, Any]) -> None:
            with app.request_context(environ):
                try:
                    tasks[task_id]["result"] = f(*args, **kwargs)
                except HTTPException as e:
                    tasks[task_id]["result"] = current_app.handle_http_exception(e)
                except Exception:
                    tasks[task_id]["result"] = InternalServerError()
                    if current_app.debug:
                        raise

        task_id = uuid.uuid4().hex
        tasks[task_id] = {
            "task": threading.Thread(
                target=task, args=(current_app._get_current_object(), request.environ)
            )
        }
        tasks[task_id]["task"].start()
        return {"TaskId": task_id}, 202

    return wrapped


@app.post("/job")
@flask_async
def job():
    return {"Result": True}


@app.get("/job/<task_id>")
def job_result(task_id: str):
    task = tasks.get(task_id)
    if task is None:
        abort(404)
    if "result" not in task:
        return {"TaskID": task_id}, 202
    return task["result"]
