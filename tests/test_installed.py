"""The wheel has all of the package, and of the harnesses, which are kept with the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import asyncjobs

ROOT = Path(__file__).parents[1]
SOURCE = Path(asyncjobs.__file__).parent

#: What a build reads, without what tests and tools leave in a checkout.
PARTS = ["pyproject.toml", "README.md", "LICENSE", ".gitignore", "src", "tests"]


def build(kind: str, checkout: Path, target: Path) -> Path:
    """The wheel or the sdist that hatchling makes of a checkout."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)]
    run = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (made,) = target.iterdir()
    return made


def python_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the package that is in `folder`."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that knows no symbolic links, as git makes one where there are none."""
    folder = tmp_path_factory.mktemp("checkout")
    for part in PARTS:
        if (ROOT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, folder / part, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / part, folder / part)
    for path in folder.rglob("*"):
        if path.is_symlink():
            words = str(path.readlink())
            path.unlink()
            path.write_text(words)
    return folder


@pytest.fixture(scope="module", params=["from the checkout", "from an sdist"])
def wheel(
    request: pytest.FixtureRequest, checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The wheel, unpacked as pip does it."""
    folder = tmp_path_factory.mktemp("wheel")
    if request.param == "from an sdist":
        with tarfile.open(build("sdist", checkout, folder / "sdist")) as files:
            files.extractall(folder, filter="data")
        (checkout,) = folder.glob("quart_asyncjobs-*")
    with zipfile.ZipFile(build("wheel", checkout, folder / "wheel")) as files:
        files.extractall(folder / "installed")
    return folder / "installed"


def test_the_wheel_has_every_module(wheel: Path) -> None:
    """The wheel has each file of the package, and each harness, and nothing besides."""
    expected = files_of(SOURCE) - {"torture.py"}  # what leads to the harnesses, in a checkout
    expected |= {f"torture/{name}" for name in files_of(ROOT / "tests" / "torture")}
    assert files_of(wheel / "asyncjobs") == expected


def files_of(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_harnesses_are_those_of_the_wheel(wheel: Path) -> None:
    """An installed package has its harnesses in itself, and looks for no checkout."""
    run = python_in(wheel, "-c", "from asyncjobs.torture import kill; print(kill.__file__)")
    assert run.stdout.strip() == str(wheel / "asyncjobs" / "torture" / "kill.py"), run.stderr


def test_the_harnesses_run_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """`asyncjobs torture` of an installed package kills servers, and reports."""
    options = ["--kills", "2", "--folder", str(tmp_path / "evidence")]
    run = python_in(wheel, "-m", "asyncjobs", "torture", "kill", *options)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 broken" in run.stdout


@pytest.fixture(params=["a wheel", "the sources"])
def without_harnesses(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The package, out of a wheel or a checkout, where the harnesses have been left out."""
    ignored = ["__pycache__"]
    if request.param == "a wheel":
        ignored += ["torture.py"]
    shutil.copytree(SOURCE, tmp_path / "asyncjobs", ignore=shutil.ignore_patterns(*ignored))
    return tmp_path


def test_where_the_harnesses_are_missing(without_harnesses: Path) -> None:
    """An installation without them says so, and what to do, in the place of a traceback."""
    run = python_in(without_harnesses, "-m", "asyncjobs", "torture", "kill")
    assert run.returncode == 1
    assert "this installation is without 'torture'" in run.stderr
    assert "Install quart-asyncjobs with pip" in run.stderr
    assert "Traceback" not in run.stderr


def test_help_where_the_harnesses_are_missing(without_harnesses: Path) -> None:
    """The list of the commands needs none of them."""
    run = python_in(without_harnesses, "-m", "asyncjobs", "--help")
    assert run.returncode == 0
    assert "torture  Try to make jobs get lost" in run.stdout
