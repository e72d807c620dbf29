"""Commands that are imported when they are called: help, completion and typos cost no import."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click


class Deferred(click.Command):
    """The place of a command that is elsewhere: `module:name`.

    Args:
        line: what the list of commands says of it, the first paragraph of its own help.
    """

    def __init__(self, name: str, target: str, line: str) -> None:
        super().__init__(name, short_help=line)
        self.target = target

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """The context of the command itself, which click then asks for all else."""
        try:
            command = self.imported()
        except click.ClickException:
            if extra.get("resilient_parsing"):  # somebody has pressed TAB: nothing to complete
                return super().make_context(info_name, args, parent, **extra)
            raise
        return command.make_context(info_name, args, parent, **extra)

    def imported(self) -> click.Command:
        """The command.

        Raises:
            click.ClickException: this installation is without it.
        """
        module, _, name = self.target.partition(":")
        try:
            command = getattr(import_module(module), name)
        except ModuleNotFoundError as error:
            # What the command itself needs and has not is another matter.
            if not f"{module}.".startswith(f"{error.name}."):
                raise
            raise click.ClickException(
                f"this installation is without '{self.name}' ({error}). Install "
                "quart-asyncjobs with pip, from PyPI or from a checkout that has all of its files"
            ) from None
        assert isinstance(command, click.Command)
        return command


class Commands(click.Group):
    """Tells who has mistyped a command which ones there are; Ctrl-C ends it as it ends commands."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # of which click makes 1, as if a job had failed
            from .exits import Exit

            raise SystemExit(Exit.INTERRUPTED) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.commands and name[:1].isalnum() and not ctx.resilient_parsing:
            near = get_close_matches(name, self.commands)
            hint = "Did you mean" if near else "There are"
            names = ", ".join(repr(each) for each in near or self.list_commands(ctx))
            ctx.fail(f"there is no command {name!r}. {hint} {names}{'?' if near else ''}")
        return super().resolve_command(ctx, args)
