"""docs/running.md says what the command line does: its commands parse, its table is the one in the code."""

import re
import shlex
from pathlib import Path

import click
import pytest

from node.cli.default_verb import DefaultVerbGroup
from node.cli.exit_codes import MEANINGS
from node.cli.main import cli

ROOT = Path(__file__).parents[2]
RUNNING = ROOT / "docs" / "running.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)


def commands(page: Path) -> list[str]:
    """Every `hanse ...` in a code block or between backticks, $(...) taken apart."""
    text = page.read_text().replace("\\\n", " ")
    lines = [line for kind, block in FENCED.findall(text) if kind in ("", "sh") for line in block.splitlines()]
    inner = [found for line in lines for found in re.findall(r"\$\((hanse [^)]*)\)", line)]
    outer = [re.sub(r"\$\([^)]*\)", "x", line) for line in lines]
    inline = re.findall(r"`(hanse [^`]+)`", FENCED.sub("", text))
    found = [*inner, *[line for line in outer if line.startswith("hanse ")], *inline]
    return [command.split(" > ")[0].split(" #")[0] for command in found if not re.search("…|[.]{3}|VERB", command)]


@pytest.mark.parametrize(
    "command", [each for page in PAGES for each in commands(page)], ids=lambda command: command[:60]
)
def test_a_command_of_the_pages_is_one(command: str) -> None:
    words = shlex.split(command)[1:]
    here: click.Command = cli
    context = click.Context(here, info_name="hanse")
    while words and isinstance(here, click.Group) and not words[0].startswith("-"):
        found = here.get_command(context, words[0])
        if found is None and isinstance(here, DefaultVerbGroup):
            break
        assert found is not None, f"{command}: no verb {words[0]}"
        here, context = found, click.Context(found, parent=context, info_name=words[0])
        words = words[1:]
    if isinstance(here, DefaultVerbGroup):
        here = here.commands[here.default]
    options = {name for param in here.params if isinstance(param, click.Option) for name in param.opts}
    options |= {name for param in here.params if isinstance(param, click.Option) for name in param.secondary_opts}
    for word in words:
        if word.startswith("-"):
            assert word in options | {"--help", "--version"}, f"{command}: no option {word}"


def test_the_pages_name_many_commands() -> None:
    assert len(commands(RUNNING)) > 100


def test_the_table_of_exit_codes_is_the_one_in_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", RUNNING.read_text(), re.M)
    assert rows == [(str(int(code)), meaning) for code, meaning in MEANINGS.items()]
