"""The command line tells what there is without importing it, and what to do after a typo."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from importlib.metadata import version

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from asyncjobs.cli import COMMANDS, main
from asyncjobs.cli.deferred import Commands, Deferred

#: Runs something in a fresh process, and prints what has been imported then.
THEN_MODULES = """
import json, sys
from asyncjobs.cli import main
from click.shell_completion import ShellComplete
{0}
print()
print(json.dumps([*sys.modules]))
"""

HELP = 'main(["--help"], standalone_mode=False)'
TYPO = 'try: main(["demon"])\nexcept SystemExit: pass'
TAB = 'print(len(ShellComplete(main, {}, "asyncjobs", "").get_completions([], "")))'

ALL = ", ".join(sorted(repr(each.name) for each in COMMANDS))


@pytest.mark.parametrize("deferred", COMMANDS, ids=lambda each: each.name)
def test_the_list_says_what_the_command_says(deferred: Deferred) -> None:
    """What the list of commands says of one is the first paragraph of that command's own help."""
    command = deferred.imported()
    assert command.name == deferred.name
    paragraph, *_ = inspect.cleandoc(command.help or "").split("\n\n")
    assert deferred.short_help == " ".join(paragraph.split())


@pytest.mark.parametrize("code", [HELP, TYPO, TAB], ids=["help", "typo", "tab"])
def test_no_command_is_imported_for_help(code: str) -> None:
    """Help, a typo and a TAB import no command, and nothing but click that takes its time."""
    run = subprocess.run(
        [sys.executable, "-c", THEN_MODULES.format(code)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    modules = set(json.loads(run.stdout.splitlines()[-1]))
    ours = {name for name in modules if name.startswith("asyncjobs")}
    assert ours == {"asyncjobs", "asyncjobs.cli", "asyncjobs.cli.deferred"}
    assert not modules & {"asyncio", "httpx", "hypercorn", "quart", "rich", "sqlite3", "werkzeug"}


def test_the_list_has_every_command() -> None:
    """`asyncjobs --help` lists each command with what it does."""
    output = " ".join(CliRunner().invoke(main, ["--help"]).output.split())
    for deferred in COMMANDS:
        assert f"{deferred.name} {deferred.short_help}" in output


def test_the_help_of_a_command_is_its_own() -> None:
    """A command that has been called has its own options and its own help."""
    result = CliRunner().invoke(main, ["demo", "--help"], prog_name="asyncjobs")
    assert result.exit_code == 0
    assert "Usage: asyncjobs demo [OPTIONS]" in result.output
    assert "--serve" in result.output


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("demon", "there is no command 'demon'. Did you mean 'demo'?"),
        ("trture", "there is no command 'trture'. Did you mean 'torture'?"),
        ("xyzzy", f"there is no command 'xyzzy'. There are {ALL}"),
    ],
)
def test_a_typo(typed: str, said: str) -> None:
    """A command that is not there is a wrong use, and the line says what was meant, or could be."""
    result = CliRunner().invoke(main, [typed])
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_wrong_option_is_none_of_the_commands() -> None:
    """An option that is not there is told as one."""
    result = CliRunner().invoke(main, ["--demo"])
    assert result.exit_code == 2
    assert "No such option" in result.stderr


def test_the_version() -> None:
    """`asyncjobs --version` says which one is installed."""
    result = CliRunner().invoke(main, ["--version"])
    assert result.exit_code == 0
    assert result.output.split()[-1] == version("quart-asyncjobs")


def completions(group: click.Group, words: list[str], begun: str) -> list[str]:
    found = ShellComplete(group, {}, "asyncjobs", "").get_completions(words, begun)
    return [each.value for each in found]


def test_completion_goes_on_in_the_command() -> None:
    """A TAB completes the names of commands, and then what the command itself takes."""
    assert completions(main, [], "to") == ["torture"]
    assert completions(main, ["torture"], "ki") == ["kill"]
    assert completions(main, ["demo"], "--s") == ["--serve"]


GONE = Commands(commands=[Deferred("gone", "asyncjobs.gone.cli:gone", "Not installed.")])


def test_a_command_that_is_not_installed() -> None:
    """An installation without a command says so in a line, and a TAB says nothing."""
    result = CliRunner().invoke(GONE, ["gone"])
    assert result.exit_code == 1
    assert "this installation is without 'gone' (No module named 'asyncjobs.gone')" in result.stderr
    assert completions(GONE, ["gone"], "") == []


def test_what_a_command_misses_is_not_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is missing is told by its own name: the command itself is there."""
    monkeypatch.delitem(sys.modules, "asyncjobs.cli.demo", raising=False)
    monkeypatch.setitem(sys.modules, "asyncjobs.demo.play", None)
    result = CliRunner().invoke(main, ["demo"])
    assert isinstance(result.exception, ModuleNotFoundError)
    assert result.exception.name == "asyncjobs.demo.play"


def test_ctrl_c_before_a_command_has_begun() -> None:
    """It ends with 130 at any time: 1 would be a job that has failed."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    group = Commands(commands=[click.Command("command", callback=interrupted)])
    assert CliRunner().invoke(group, ["command"]).exit_code == 130
