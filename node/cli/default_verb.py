"""A group of verbs of which one is meant when none is named: `hanse simulate --data mnist`, `hanse simulate plot`."""

from typing import Any

import click

from node.cli.verbs import VerbGroup


class DefaultVerbGroup(VerbGroup):
    """`default`: the verb that the arguments are for when the first of them names none."""

    def __init__(self, *args: Any, default: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in self.commands:
            args = [self.default, *args]
        return super().parse_args(ctx, args)
