"""An environment for each peer, made when it is first asked for."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from .peers import Peer

_VERSIONS = """
import json, platform, sys
from importlib.metadata import version
print(json.dumps({"python": platform.python_version()} | {n: version(n) for n in sys.argv[1:]}))
"""


class Unavailable(Exception):
    """Why a peer can't be measured."""


def python_of(peer: Peer, folder: Path) -> Path:
    """The Python of the peer's environment in `folder`, with its packages.

    Raises:
        Unavailable: they can't be installed.
    """
    if not peer.packages:
        return Path(sys.executable)
    environment = folder / peer.name
    python, stamp = environment / "bin" / "python", environment / "installed"
    wanted = "\n".join([sys.version, *peer.packages])
    if not stamp.exists() or stamp.read_text() != wanted:
        venv.create(environment, clear=True, with_pip=True)
        _install(python, peer.packages)
        stamp.write_text(wanted)
    return python


def versions(peer: Peer, python: Path) -> dict[str, str]:
    """Of its Python and of what is shown of it, by name."""
    said = subprocess.run(
        [python, "-c", _VERSIONS, *peer.shown], check=True, capture_output=True, text=True
    )
    found: dict[str, str] = json.loads(said.stdout)
    return found


def _install(python: Path, packages: Sequence[str]) -> None:
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *packages], capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise Unavailable(
            f"its packages can't be installed ({' '.join(errors) or done.stderr.strip()})"
        )
