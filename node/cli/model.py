"""`hanse model`: what was trained, and getting it out. What packages bring: model_packages.py."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.model_packages import check, describe
from node.cli.output import judged, print_fields, print_json, print_table, short_hash
from node.cli.request_ids import whole_id
from node.cli.verbs import VerbGroup, json_option, node_options
from node.cli.which_node import ask


def format_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--format and --schema: how a model's file is written, and what it says of its inputs."""
    schema = click.option(
        "--schema",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="TOML",
        help="Schema of the table it was trained on: its classes and ranges go into the file's metadata.",
    )
    # The formats of node/model_formats.py, which --help does not import.
    form = click.option(
        "--format", "chosen", type=click.Choice(("safetensors", "onnx")), help="Default: as FILE's name ends."
    )
    return form(schema(function))


@click.group(
    cls=VerbGroup,
    examples=(
        "hanse model list -c ./alice",
        "hanse model export ID bearing.onnx -c ./alice",
        "hanse model check mlp -a layers=8,150,4",
    ),
)
def model() -> None:
    """Models: those that were trained (each belongs to a request, ID), and those that packages bring."""


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
        "served": answer["served"],
    }


@model.command(
    examples=(
        "hanse model export ID bearing.safetensors -c ./alice",
        "hanse model export ID bearing.onnx -c ./alice --schema machines.toml",
    )
)
@click.argument("request_id", metavar="ID")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
@format_options
@click.option("--served", is_flag=True, help="The model that this factory itself uses, where it took part.")
@node_options
def export(
    request_id: str,
    path: Path,
    chosen: str | None,
    schema: Path | None,
    served: bool,
    config_path: str,
    as_json: bool,
) -> None:
    """Write a finished request's model to FILE (.safetensors or .onnx). Never writes over a file.

    An ONNX file is written only after onnxruntime has run it and answered what torch answers.
    """
    answer = ask(config_path, "model", request=whole_id(config_path, request_id))
    which = "served" if served else "export"
    if not answer[which]:
        told = (
            "a model of one's own is made when it is done, where it was trained"
            if served
            else "its export is written when it is done, where it was published"
        )
        raise CliError(Exit.NOT_FOUND, f"request {short_hash(answer['request'])} is {answer['stage']}: {told}")
    written = _write(Path(answer[which]).read_bytes(), path, chosen, schema)
    if as_json:
        about = {"digest": answer["digest"], "round": answer["round"], "served": served}
        print_json({"file": str(path.absolute()), "format": written, **about})
    else:
        own = "this factory's own model, made of that" if served else "the model"
        click.echo(f"{path}: {own} of round {answer['round']}, digest {answer['digest']}")


@model.command(examples=("hanse model convert bearing.safetensors bearing.onnx",))
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FROM")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
@format_options
@json_option
def convert(source: Path, path: Path, chosen: str | None, schema: Path | None, as_json: bool) -> None:
    """Write an exported model (FROM, safetensors) to FILE in another format. Needs no node."""
    written = _write(source.read_bytes(), path, chosen, schema)
    if as_json:
        print_json({"file": str(path.absolute()), "format": written})
    else:
        click.echo(f"{path}: {written}, made of {source}")


def _write(exported: bytes, path: Path, chosen: str | None, schema: Path | None) -> str:
    """The format that was written."""
    from node.model_formats import ModelFileError, format_of, schema_notes, write_model

    try:
        form = format_of(path, chosen)
        write_model(path, exported, form, schema_notes(exported, schema) if schema is not None else None)
    except ModelFileError as error:
        raise CliError(Exit.CONFIGURATION, str(error)) from None
    return form


model.add_command(describe)
model.add_command(check)
