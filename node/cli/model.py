"""`hanse model`: what was trained, and getting it out."""

import shutil
from pathlib import Path
from typing import Any

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import judged, print_fields, print_json, print_table, short_hash
from node.cli.request_ids import whole_id
from node.cli.verbs import VerbGroup, node_options
from node.cli.which_node import ask


@click.group(
    cls=VerbGroup, examples=("hanse model list -c ./alice", "hanse model export ID bearing.safetensors -c ./alice")
)
def model() -> None:
    """Trained models. Each belongs to a request (ID); its digest is on the ledger."""


@model.command(name="list", examples=("hanse model list -c ./alice",))
@node_options
def list_models(config_path: str, as_json: bool) -> None:
    """Print the model of every request that has had a round: digest, accuracy, whether its bytes are here."""
    requests = ask(config_path, "request.list")
    models = [
        {"title": found["title"], **ask(config_path, "model", request=found["id"])}
        for found in requests["requests"]
        if found["round"]
    ]
    if as_json:
        print_json({"head": requests["head"], "models": models})
        return
    rows = [
        (
            each["request"],
            each["title"],
            each["stage"],
            each["round"],
            judged(each["accuracy"]),
            short_hash(each["digest"]),
            "exported" if each["export"] else each["held"],
        )
        for each in models
    ]
    print_table("Models", ("id", "title", "stage", "round", "accuracy", "digest", "here"), rows, shorten=("id",))


@model.command(examples=("hanse model info ID -c ./alice",))
@click.argument("request_id", metavar="ID")
@node_options
def info(request_id: str, config_path: str, as_json: bool) -> None:
    """Print what is known of a request's model."""
    answer = ask(config_path, "model", request=whole_id(config_path, request_id))
    if as_json:
        print_json(answer)
        return
    print_fields(_lines(answer))


def _lines(answer: dict[str, Any]) -> dict[str, object]:
    about = answer["about"]
    arguments = about["arguments"].items() if isinstance(about["arguments"], dict) else ()
    return {
        "request": answer["request"],
        "digest": answer["digest"],
        "round": answer["round"],
        "stage": answer["stage"],
        "accuracy": f"{judged(answer['accuracy'])} (model of round {answer['judged_round']})",
        "model": " ".join([about["model"], *(f"{name}={value}" for name, value in arguments)]),
        "bytes here": answer["held"],
        "export": answer["export"],
    }


@model.command(examples=("hanse model export ID bearing.safetensors -c ./alice",))
@click.argument("request_id", metavar="ID")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
@node_options
def export(request_id: str, path: Path, config_path: str, as_json: bool) -> None:
    """Write a finished request's model to FILE (safetensors). Never writes over a file."""
    answer = ask(config_path, "model", request=whole_id(config_path, request_id))
    if not answer["export"]:
        raise CliError(
            Exit.NOT_FOUND,
            f"request {short_hash(answer['request'])} is {answer['stage']}: its export is written when it is done,"
            " where it was published",
        )
    try:
        with Path(answer["export"]).open("rb") as source, path.open("xb") as target:
            shutil.copyfileobj(source, target)
    except FileExistsError:
        raise CliError(Exit.CONFIGURATION, f"{path}: there is a file already; it is left as it is") from None
    if as_json:
        print_json({"file": str(path.absolute()), "digest": answer["digest"], "round": answer["round"]})
    else:
        click.echo(f"{path}: the model of round {answer['round']}, digest {answer['digest']}")
