"""How a verb looks: click commands whose help ends in examples, groups that import a verb when it is called."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import click


class Verb(click.Command):
    """A command with example lines; every verb has at least one, and a test sees to it."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(self.examples, formatter)


class VerbGroup(click.Group):
    """Verbs of one topic, with examples of its own."""

    command_class = Verb

    def __init__(self, *args: Any, examples: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(self.examples, formatter)


class LazyGroup(VerbGroup):
    """A group that knows the name and the one-line help of its verbs, and imports a verb's file when it is needed."""

    def __init__(self, *args: Any, verbs: Mapping[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*args, **options)
        self.lazy_verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lazy_verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy_verbs:
            return None
        module, _, attribute = self.lazy_verbs[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self.lazy_verbs.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.lazy_verbs and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], list(self.lazy_verbs), n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"there is no verb {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


def _write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    if not examples:
        return
    with formatter.section("Examples"):
        for line in examples:
            formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def named_values(_context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """The callback of an option that says NAME=VALUE, as often as wanted."""
    pairs = [each.partition("=") for each in given]
    named = {name: value for name, _, value in pairs}
    if "" in named or len(named) < len(pairs) or not all(equals for _, equals, _ in pairs):
        raise click.BadParameter(f"{', '.join(given)}: want NAME=VALUE, each name once", param=option)
    return named


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--json: the answer as one JSON object on stdout, errors as one on stderr, no progress bars."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(function)


def config_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--config: which node is meant."""
    return click.option(
        "-c",
        "--config",
        "config_path",
        envvar="HANSE_CONFIG",
        default=".",
        metavar="PATH",
        help="The node's config.toml, or its folder. Default: $HANSE_CONFIG, else the present folder.",
    )(function)


def node_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What every verb that asks a running node takes."""
    return config_option(json_option(function))


def timeout_option(default: float, what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """--timeout in seconds."""
    return click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(0.1, 86_400),
        default=default,
        show_default=True,
        metavar="SECONDS",
        help=what,
    )
