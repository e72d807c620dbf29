"""File systems that one process sees, and nobody else."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import pytest


@cache
def can_mount() -> bool:
    """Whether this machine lets us mount file systems that nobody else sees."""
    tried = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(tried, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def mounting(commands: str, folder: Path) -> tuple[str, ...]:
    """A launcher that runs shell commands on `folder` first, in a mount namespace of its own.

    Permission bits would not do: root, as which tests may run, passes them all.
    """
    if not can_mount():
        pytest.skip("no file system can be mounted here: that takes unshare(1) and user namespaces")
    script = f'folder="$1"; shift; {commands} && exec "$@"'
    return ("unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(folder))


def mounting_an_image(folder: Path, image: Path, size: int) -> tuple[str, ...]:
    """A launcher that mounts a file system of so many bytes, made in `image`, on `folder` first."""
    with image.open("wb") as file:
        file.truncate(size)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    except FileNotFoundError:
        pytest.skip("there is no mkfs.ext4 here")
    launcher = ("unshare", "--mount", "sh", "-c", 'mount -o loop "$1" "$2" && shift 2 && exec "$@"')
    launcher = (*launcher, "sh", str(image), str(folder))
    if subprocess.run([*launcher, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no image can be mounted here: that takes root and loop devices")
    return launcher


def remount(pid: int, folder: Path, option: str) -> None:
    """Change how the process has `folder` mounted."""
    command = ["nsenter", "--target", str(pid), "--mount", "mount", "-o", f"remount,{option}"]
    subprocess.run([*command, str(folder)], check=True)
