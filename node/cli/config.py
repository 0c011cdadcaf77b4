"""`hanse config`: check, show and write the configuration of a node."""

from pathlib import Path

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_json, print_table
from node.cli.verbs import VerbGroup, config_option, json_option
from node.cli.which_node import config_file, read_config


@click.group(cls=VerbGroup, examples=("hanse config check -c ./alice", "hanse config show -c ./alice"))
def config() -> None:
    """The configuration: one TOML file. What it does not know, or cannot mean together, stops the node."""


@config.command(examples=("hanse config check -c ./alice",))
@config_option
@json_option
def check(config_path: str, as_json: bool) -> None:
    """Read the configuration as a start would, and look for the files it names. Exit code 3 names the first fault."""
    from node.config_check import missing_files

    read = read_config(config_path)
    missing = list(missing_files(read))
    if missing:
        raise CliError(Exit.CONFIGURATION, f"{read.path}: {'; '.join(missing)}", problems=missing)
    if as_json:
        print_json({"file": str(read.path), "ok": True})
    else:
        click.echo(f"{read.path}: good")


@config.command(examples=("hanse config show -c ./alice", "hanse config show -c ./alice --json"))
@config_option
@json_option
def show(config_path: str, as_json: bool) -> None:
    """Print every setting with its value and where that comes from: default, file, or a variable."""
    from node.config import config_values
    from node.config_template import toml_value

    read = read_config(config_path)
    values = config_values(read)
    if as_json:
        origins: dict[str, dict[str, str]] = {section: {} for section in values}
        for origin in read.origins:
            origins[origin.section][origin.key] = origin.source
        print_json({"file": str(read.path), "values": values, "origins": origins})
        return
    rows = [
        (f"[{origin.section}] {origin.key}", toml_value(values[origin.section][origin.key]), origin.source)
        for origin in read.origins
    ]
    print_table(str(read.path), ("setting", "value", "from"), rows)


@config.command(examples=("hanse config init --name Alice -o ./alice/config.toml", "hanse config init --name Alice"))
@click.option("--name", required=True, help="The organisation's name.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file to write. Default: print it.")
@json_option
def init(name: str, output: Path | None, as_json: bool) -> None:
    """Write a configuration with every setting explained. `hanse init` does this and more."""
    from node.config import parse_config
    from node.config_template import config_template
    from node.disk import publish_file

    text = config_template({"node": {"name": name}})
    parse_config(text, output or config_file("."))
    if output is None:
        if as_json:
            print_json({"config": text})
        else:
            click.echo(text, nl=False)
        return
    try:
        publish_file(output, text.encode(), replace=False)
    except FileExistsError:
        raise CliError(Exit.CONFIGURATION, f"{output}: there is a file already; it is left as it is") from None
    if as_json:
        print_json({"file": str(output.absolute())})
    else:
        click.echo(f"{output} is written.")
