"""`asyncjobs demo`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

import click

from ..demo.play import play
from ..demo.serve import serve as serve_demo
from ..demo.server import ServerFailed

T = TypeVar("T")


@click.command()
@click.option("--serve", is_flag=True, help="Leave the server up and print curl lines to try.")
def demo(serve: bool) -> None:
    """Run five real jobs on a real server, watch them, and check their results."""
    try:
        if serve:
            asyncio.run(_until_stopped(serve_demo()))
        elif not asyncio.run(_until_stopped(play())):
            raise SystemExit(1)
    except ServerFailed as error:
        raise click.ClickException(str(error)) from None
    except asyncio.CancelledError:
        if not serve:  # which ends in no other way
            raise click.Abort from None


async def _until_stopped(main: Coroutine[Any, Any, T]) -> T:
    """Have SIGTERM and a closed terminal end `main` as cleanly as Ctrl-C does."""
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under nohup
        signals.append(signal.SIGHUP)
    task = asyncio.current_task()
    assert task is not None
    for number in signals:
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await main
