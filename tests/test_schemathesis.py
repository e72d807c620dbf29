"""Schemathesis drives all that the OpenAPI document tells of, against a real hypercorn.

It knows nothing but the document: of each operation it sends what that allows, and what it does
not, follows its links, and checks each answer against it, by all of its checks but those that
``schemathesis.toml`` leaves out by name. ``schemathesis_hooks`` adds who calls, and checks of ours.

Some hundred requests of the same seed are part of the suite. As many as are wanted, in rounds of
other seeds each, are sent by::

    ASYNCJOBS_SCHEMATHESIS=20000 python -m pytest -n 0 -s tests/test_schemathesis.py -k as_it_says
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from server import TESTS, Server

#: How many requests are sent at least; the examples of each operation in a round; its time-out.
REQUESTS = int(os.environ.get("ASYNCJOBS_SCHEMATHESIS", "500"))
EXAMPLES = 10 if REQUESTS <= 1000 else 150
PATIENCE = 600.0

# Little, so that limits are reached, and nobody waits for long.
CONFIG = {
    "QUART_JOBS_MAX_WAIT": 0.2,
    "QUART_JOBS_MAX_QUEUED_PER_OWNER": 3,
    "QUART_JOBS_MAX_BODY": 16_384,
}
#: Answers that are this surface's own: none of the runs is to miss one of them.
OURS = {
    *("GET /jobs 200", "GET /jobs 404", "GET /jobs/{job_id} 200", "GET /jobs/{job_id} 204"),
    *("GET /jobs/{job_id} 304", "GET /orders/{asyncjobs_id} 201", "GET /held/{asyncjobs_id} 504"),
    *("POST /orders 201", "POST /orders 202", "POST /orders 422", "POST /late 504"),
    *("GET /reports/{year} 200", "POST /jobs/{job_id}/retry 409"),
}
#: Of what is no operation, not valid, or not there.
IN_VAIN = {"400", "404", "405", "422", "431"}


def drive(server: Server, *options: str, seed: int, examples: int) -> tuple[str, Counter[str]]:
    """Have schemathesis drive a server; what is wrong, if anything, and how often each operation
    was answered by which status."""
    seen = server.folder / f"seen-{seed}.json"
    driven = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli"),
            *("--config-file", str(TESTS / "schemathesis.toml")),
            *("run", f"{server.url}/openapi.json"),
            *("--seed", str(seed), "--max-examples", str(examples)),
            *("--generation-database", "none", "--continue-on-failure", "--no-color"),
            *("--request-timeout", "30", "--suppress-health-check", "all"),
            *options,
        ],
        cwd=server.folder,
        env={
            **os.environ,
            "PYTHONPATH": str(TESTS),
            "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
            "SCHEMATHESIS_SEED": str(seed),
            "SCHEMATHESIS_SEEN": str(seen),
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    said = driven.stdout + driven.stderr
    assert driven.returncode in (0, 1), said
    return said if driven.returncode else "", Counter(json.loads(seen.read_text()))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_app_does_as_it_says(tmp_path: Path, workers: int) -> None:
    """Whatever is asked of whichever operation, by owners, operators, and nobody in particular:
    each answer has a status, headers and a body that the document has there, no 5xx is but a
    problem of the contract, and nobody is told of somebody else's job. Each operation has been
    reached, not refused only, and nothing has raised but what is to."""
    seen: Counter[str] = Counter()
    with Server("apps.described:app", tmp_path, config=CONFIG, workers=workers) as server:
        seed = 0
        while seen.total() < REQUESTS:
            seed += 1
            wrong, answered = drive(server, seed=seed, examples=EXAMPLES)
            seen += answered
            assert not wrong, wrong
        with server.client() as client:
            document = client.get("/openapi.json").json()
        log = server.log()

    print(f"{seen.total()} requests in {seed} rounds", *sorted(seen.items()), sep="\n")
    operations = {
        f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item
    }
    reached = {each.rpartition(" ")[0] for each in seen if each.rpartition(" ")[2] not in IN_VAIN}
    assert not operations - reached
    assert not OURS - {*seen}
    assert log.count("Traceback (most recent call last)") == log.count("ValueError: as ever")


@pytest.mark.parametrize(
    ("spoiled", "found"),
    [
        ("fails", "only_problems_of_ours"),
        ("undocumented", "Undocumented status code"),
        ("unlike_its_schema", "Response violates schema"),
        ("of_another_kind", "Undocumented Content-Type"),
        ("wrong_header", "Response header does not conform to the schema"),
        ("tells_of_others", "nothing_of_others"),
        ("no_status", "events_tell_the_status"),
    ],
)
def test_what_is_wrong_is_found(tmp_path: Path, spoiled: str, found: str) -> None:
    """An app that does otherwise than it says is found out, by the check that is for that."""
    config = {**CONFIG, "SPOILED": spoiled}
    with Server("apps.spoiled:app", tmp_path, config=config) as server:
        wrong, _ = drive(server, "--max-failures", "3", seed=1, examples=EXAMPLES)
    assert found in wrong
