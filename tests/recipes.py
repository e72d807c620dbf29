"""The page of the recipes: its files, and what is typed there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "recipes.md").read_text()
_FENCED = r"```(?:python|toml|ini|nginx|js|sh)\n(?:#|//) ([\w.]+)\n(.*?)```"
FILES = dict(re.findall(_FENCED, PAGE, re.DOTALL))
COMMANDS = re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)

_ID = re.compile(r"\b[0-9a-f]{32}\b")
#: Where the servers of the page are.
_SERVERS = re.compile(r"http://127\.0\.0\.1:8000|https://www\.example")


def write_files(folder: Path) -> None:
    """Put the files of the recipes there."""
    for name, text in FILES.items():
        (folder / name).write_text(text)


def type_recipe(name: str, folder: Path, url: str, options: Sequence[str] = ()) -> dict[str, str]:
    """Type what the recipe of this file types, and see that it prints what is shown there.

    The server is there already.

    Args:
        name: a file of the recipe.
        folder: where to type it.
        url: of the server.
        options: more of them for curl.

    Returns:
        The ids of the jobs, by those on the page.
    """
    ids: dict[str, str] = {}
    here = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command, expected in transcript(name):
        if command.startswith("hypercorn"):
            continue
        command = _ID.sub(lambda match: ids[match.group()], _SERVERS.sub(url, command))
        done = subprocess.run(
            re.sub(r"^curl", " ".join(["curl -sS", *options]), command),
            shell=True,
            cwd=folder,
            env=here,
            capture_output=True,
            text=True,
            timeout=60,
        )
        for shown in _ID.findall(expected):
            ids.setdefault(shown, _ID.findall(done.stdout)[0])
        expected = _ID.sub(lambda match: ids[match.group()], _SERVERS.sub(url, expected))
        assert (done.stdout, done.stderr) == (expected, ""), command
    return ids


def transcript(name: str) -> Iterator[tuple[str, str]]:
    """Each command in the recipe of a file, with what it prints."""
    (section,) = [part for part in PAGE.split("\n## ") if re.search(rf"\n(#|//) {name}\n", part)]
    for block in re.findall(r"```console\n(.*?)```", section, re.DOTALL):
        yield from re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
