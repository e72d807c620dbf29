"""`asyncjobs torture stateful`: every store against a model, in random histories with faults."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import click

from asyncjobs.store import Store

from .command import COUNT
from .handles import STORES, Kind

#: Steps in one history.
STEPS_AT_A_TIME = 50
#: Histories that hypothesis is asked for at once.
HISTORIES = 20


@click.command()
@click.option(
    "--steps", type=COUNT, default=5000, show_default=True, help="Steps on each store, at least."
)
@click.option("--seed", type=int, help="Repeats a run; random unless given.")
@click.option(
    "--store",
    type=click.Choice([*STORES, "all"]),
    default="all",
    show_default=True,
    help="Which store to try.",
)
@click.option(
    "--shrink/--no-shrink",
    default=True,
    show_default=True,
    help="Make a history that fails as short as can be: that may take minutes.",
)
def stateful(steps: int, seed: int | None, store: str, shrink: bool) -> None:
    """Use a store in every way, with faults, and compare it with a model."""
    seed = random.randrange(2**32) if seed is None else seed
    with TemporaryDirectory(prefix="asyncjobs-") as folder:
        # Where hypothesis keeps what it has learnt: nobody wants that in the working directory.
        os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", folder)
        for name, kind in STORES.items():
            if store in (name, "all"):
                click.echo(f"{name}: seed {seed}")
                with _failure_told():
                    _tell(run(kind, steps=steps, seed=seed, shrink=shrink))


def run(
    kind: Kind,
    *,
    steps: int,
    seed: int,
    wrap: Callable[[Store], Store] = lambda store: store,
    shrink: bool = True,
) -> Counter[str]:
    """At least so many steps on stores of this kind; how often each kind of step was made.

    Args:
        wrap: plants a bug in a store.
        shrink: whether to look for the shortest history that fails.

    Raises:
        Exception: what was found, with the history that led to it in its notes.
    """
    # Here, as the other harnesses do without hypothesis.
    try:
        import hypothesis
        from hypothesis.stateful import run_state_machine_as_test

        from .machine import StoreMachine
    except ModuleNotFoundError:
        raise click.ClickException(
            "this needs hypothesis: pip install 'quart-asyncjobs[torture]'"
        ) from None

    counts: Counter[str] = Counter()
    members = {"kind": kind, "wrap": staticmethod(wrap), "counts": counts}
    phases = [hypothesis.Phase.generate, *[hypothesis.Phase.shrink] * shrink]
    while counts.total() < steps:
        missing = -((counts.total() - steps) // STEPS_AT_A_TIME)
        settings = hypothesis.settings(
            max_examples=min(HISTORIES, missing),
            stateful_step_count=STEPS_AT_A_TIME,
            phases=phases,
            database=None,
            deadline=None,
            print_blob=False,
            report_multiple_bugs=False,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        machine = hypothesis.seed(seed)(type("Store", (StoreMachine,), members))
        run_state_machine_as_test(machine, settings=settings)
        seed += 1
    return counts


@contextmanager
def _failure_told() -> Iterator[None]:
    """End with 1 and the history that fails, without the traceback of the harness."""
    try:
        yield
    except click.ClickException:
        raise
    except Exception as error:
        history = "\n".join(getattr(error, "__notes__", []))
        raise click.ClickException(f"{type(error).__name__}: {error}\n{history}") from error


def _tell(counts: Counter[str]) -> None:
    click.echo(f"  {counts.total()} steps, no difference to the model")
    for what, times in counts.most_common():
        click.echo(f"  {times:6} {what}")
