"""`asyncjobs torture`: one command for each harness."""

from __future__ import annotations

import click

from .cycles import hypercorn
from .damage import command as damage
from .http import http
from .kill import kill
from .poison import poison
from .power import power
from .stateful import stateful


@click.group()
def torture() -> None:
    """Try to make jobs get lost, run twice or leak, on this machine and its disk."""


torture.add_command(damage)
torture.add_command(http)
torture.add_command(hypercorn)
torture.add_command(kill)
torture.add_command(poison)
torture.add_command(power)
torture.add_command(stateful)
