"""`hanse help`: what does not fit into the help of one verb. Lists come from the registries themselves."""

from collections.abc import Callable, Iterable

import click

from node.cli.exit_codes import MEANINGS, Exit
from node.cli.faults import CliError
from node.cli.output import cell_text, print_json
from node.cli.verbs import Verb, json_option

Topic = list[dict[str, object]]


def _exit_codes() -> Topic:
    return [{"name": str(int(code)), "summary": meaning} for code, meaning in MEANINGS.items()]


def _models() -> Topic:
    from fl.models.registry import describe, names

    found = [describe(name) for name in names()]
    return [{"name": note.name, "summary": note.summary, "settings": _notes(note.arguments)} for note in found]


def _strategies() -> Topic:
    from fl.strategies.base import StrategyError
    from fl.strategies.registry import names, notes, summary

    found: Topic = []
    for name in names():
        try:
            found.append({"name": name, "summary": summary(name), "settings": _notes(notes(name))})
        except StrategyError as error:
            # A plug-in that does not load is no reason to show nothing of the others.
            found.append({"name": name, "summary": str(error), "settings": []})
    return found


def _sources() -> Topic:
    from fl.data.registry import describe, names

    return [
        {"name": note.name, "summary": note.summary, "path": note.path, "settings": _notes(note.settings)}
        for note in map(describe, names())
    ]


def _privacy() -> Topic:
    from fl.privacy.modes import MODES, notes

    return [
        {
            "name": mode.name,
            "summary": mode.report.statement,
            "guarantee": mode.report.guarantee,
            "settings": _notes(notes(mode.name)),
        }
        for mode in MODES.values()
        if mode.available
    ]


def _rules() -> Topic:
    from fl.aggregate import RULES, rule_notes

    return [
        {"name": name, "summary": rule.summary, "settings": _notes(rule_notes(name))} for name, rule in RULES.items()
    ]


def _attacks() -> Topic:
    from fl.simulate.attacks import ATTACKS

    told = {name: f"; strength {kind.usual:g}: {kind.meaning}" if kind.usual else "" for name, kind in ATTACKS.items()}
    return [{"name": name, "summary": kind.summary + told[name]} for name, kind in ATTACKS.items()]


def _notes(notes: Iterable[object]) -> list[dict[str, object]]:
    return [{name: getattr(note, name) for name in ("name", "default", "wanted", "meaning")} for note in notes]


TOPICS: dict[str, tuple[str, Callable[[], Topic]]] = {
    "exit-codes": ("what the exit codes mean", _exit_codes),
    "models": ("models a request can name, and their arguments", _models),
    "strategies": ("rules of a round, and their settings", _strategies),
    "sources": ("where records can come from, and the settings", _sources),
    "privacy": ("privacy modes, and what each one promises", _privacy),
    "rules": ("how a committee makes one model of all updates", _rules),
    "attacks": ("what a simulated factory may do instead of its work", _attacks),
}


@click.command(
    cls=Verb, name="help", examples=("hanse help exit-codes", "hanse help models", "hanse help request publish")
)
@click.argument("topic", nargs=-1)
@json_option
@click.pass_context
def help_topics(ctx: click.Context, topic: tuple[str, ...], as_json: bool) -> None:
    """Explain a topic, or show the help of a verb. Without a topic: list the topics."""
    if not topic:
        if as_json:
            print_json({name: summary for name, (summary, _) in TOPICS.items()})
            return
        for name, (summary, _) in TOPICS.items():
            click.echo(f"hanse help {name:<12}  {summary}")
        return
    if len(topic) == 1 and topic[0] in TOPICS:
        entries = TOPICS[topic[0]][1]()
        if as_json:
            print_json({topic[0]: entries})
        else:
            _print_entries(entries)
        return
    click.echo(_verb_help(ctx, topic))


def _print_entries(entries: Topic) -> None:
    width = max(len(str(entry["name"])) for entry in entries)
    common = _common_settings(entries)
    for entry in entries:
        click.echo(f"{entry['name']!s:<{width}}  {entry['summary']}")
        if entry.get("path"):
            click.echo(f"{'':{width}}    path: {entry['path']}")
        if entry.get("guarantee"):
            click.echo(f"{'':{width}}    guarantee: {entry['guarantee']}")
        _print_settings([note for note in _settings(entry) if note not in common], f"{'':{width}}    ")
    if common:
        click.echo("\nAll of them have")
        _print_settings(common, f"{'':{width}}    ")


def _settings(entry: dict[str, object]) -> list[dict[str, object]]:
    settings = entry.get("settings", [])
    return settings if isinstance(settings, list) else []


def _common_settings(entries: Topic) -> list[dict[str, object]]:
    """Settings that every entry of several has; they are said once."""
    if len(entries) < 2:
        return []
    return [note for note in _settings(entries[0]) if all(note in _settings(entry) for entry in entries)]


def _print_settings(notes: list[dict[str, object]], indent: str) -> None:
    for note in notes:
        default = "must be given" if note["default"] is None else f"default {cell_text(note['default']) or 'empty'}"
        click.echo(f"{indent}{note['name']}: {note['meaning']}; {note['wanted']}; {default}")


def _verb_help(ctx: click.Context, path: tuple[str, ...]) -> str:
    here: click.Context = ctx.find_root()
    for word in path:
        command = here.command.get_command(here, word) if isinstance(here.command, click.Group) else None
        if command is None:
            topics = ", ".join(TOPICS)
            raise CliError(Exit.USAGE, f"there is no topic or verb {' '.join(path)!r}; topics are {topics}")
        here = click.Context(command, parent=here, info_name=word)
    return here.get_help()
