"""`hanse model describe` and `hanse model check`: models that packages bring, before a request names them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_fields, print_json, print_table
from node.cli.verbs import Verb, json_option, named_values

if TYPE_CHECKING:
    from fl.model_check import Finding


def argument_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """-a NAME=VALUE, as often as there are arguments."""
    return click.option(
        "-a",
        "--argument",
        "arguments",
        multiple=True,
        callback=named_values,
        metavar="NAME=VALUE",
        help="An argument of the model, as the request would say it. Can be given several times.",
    )(function)


def unpinned_hint(name: str, arguments: dict[str, str]) -> str | None:
    """What is worth saying of a request whose model comes from a package and is not pinned to one."""
    from fl.models.errors import ModelError
    from fl.models.plug_ins import PIN, pin, plug_ins

    if name not in plug_ins() or PIN in arguments:
        return None
    told = f"model {name!r} comes from a package: providers who have another version of it would train another model"
    try:
        return f'{told}; [model] arguments with {PIN} = "{pin(name)}" makes them decline'
    except ModelError:
        return f"{told}; installed from a wheel it could be pinned (`hanse model describe {name}`)"


@click.command(
    cls=Verb,
    examples=(
        "hanse model describe gear-net -a channels=3",
        "hanse model describe gear-net -a channels=3 --write gear_models/shapes.json",
    ),
)
@click.argument("name")
@argument_option
@click.option(
    "--write",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Add these arguments and their shapes to FILE, which the package ships.",
)
@json_option
def describe(name: str, arguments: dict[str, str], target: Path | None, as_json: bool) -> None:
    """Print a model's parameters, what it is fed, and the pin of its package. Needs no node.

    Reads a plug-in's shapes off its network, whatever its package says of them. With --write the file of shapes is
    made, or a set of arguments added to it: nodes know a plug-in's shapes from there without torch.
    """
    from fl.models.errors import ModelError
    from fl.models.plug_ins import PIN

    try:
        shapes, told = _described(name, {word: text for word, text in arguments.items() if word != PIN})
        if target is not None:
            told["sets of arguments"] = _add_description(target, name, arguments, shapes)
    except ModelError as error:
        raise CliError(Exit.CONFIGURATION, str(error)) from None
    if as_json:
        print_json({**told, "shapes": [[label, list(shape)] for label, shape in shapes]})
        return
    print_table("Parameters", ("name", "shape"), [(label, "x".join(map(str, shape))) for label, shape in shapes])
    print_fields(told)


def _described(name: str, arguments: dict[str, str]) -> tuple[Any, dict[str, Any]]:
    from math import prod

    from fl.models.errors import ModelError
    from fl.models.fitness import read_off
    from fl.models.plug_ins import build_plug_in, pin, plug_ins
    from fl.models.shapes import parameter_shapes, signature

    if name in plug_ins():
        shapes = read_off(name, lambda: build_plug_in(name, arguments))
    else:
        shapes = parameter_shapes(name, arguments)
    form = signature(name, arguments)
    fed = "not said" if form is None else " x ".join("any" if side is None else str(side) for side in form.input_shape)
    told: dict[str, Any] = {
        "model": name,
        "arguments": " ".join(f"{word}={text}" for word, text in arguments.items()) or "defaults",
        "parameters": sum(prod(shape) for _, shape in shapes),
        "input": fed if form is None else f"{'int64 codes' if form.codes else 'float32'} {fed}",
        "classes": None if form is None else form.classes,
    }
    if name in plug_ins():
        try:
            told["pin"] = pin(name)
        except ModelError as error:
            told["pin"] = f"none: {error}"
    return shapes, told


def _add_description(target: Path, name: str, arguments: dict[str, str], shapes: Any) -> int:
    """How many sets of arguments the file holds now."""
    from fl.models.errors import ModelError
    from fl.models.plug_ins import plug_in, plug_ins
    from fl.models.torch_model import TorchModel, description, read_description
    from node.disk import publish_file

    if name not in plug_ins():
        raise ModelError(f"model {name!r} comes with Hanse: its shapes are known everywhere, nothing to write")
    plug = plug_in(name)
    if not isinstance(plug, TorchModel):
        raise ModelError(f"model {name!r} declares its shapes itself; a file is for plug-ins made with TorchModel")
    words = plug.full_arguments(arguments)
    known = read_description(target.read_text(), str(target)) if target.exists() else []
    kept = [(variant, old) for variant, old in known if variant != words]
    variants = sorted([*kept, (words, shapes)], key=lambda each: sorted(each[0].items()))
    publish_file(target, description(variants).encode())
    return len(variants)


# What a node does with a request's model before anybody trains: in a process of its own, for torch is imported here.
_AS_A_NODE = """
import json, sys
from fl.models import ModelError, parameter_shapes
try:
    parameter_shapes(sys.argv[1], json.loads(sys.argv[2]))
    print("torch" if "torch" in sys.modules else "known")
except ModelError as error:
    print(error)
"""


def _in_a_node(name: str, arguments: dict[str, str]) -> "Finding":
    from fl.model_check import FAILED, NOTED, PASSED, Finding

    command = [sys.executable, "-P", "-c", _AS_A_NODE, name, json.dumps(arguments)]
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    ran = subprocess.run(command, capture_output=True, text=True, env=path)
    said = ran.stdout.strip() or ran.stderr.strip()[-200:]
    if said == "torch":
        told = "its package imports torch to tell its shapes, and so would every node: name the class in module="
        return Finding("node", NOTED, told)
    if said != "known":
        return Finding("node", FAILED, said)
    return Finding("node", PASSED, "a node knows its shapes without torch")


@click.command(cls=Verb, examples=("hanse model check gear-net -a channels=3", "hanse model check mlp -a layers=8,4"))
@click.argument("name")
@argument_option
@json_option
def check(name: str, arguments: dict[str, str], as_json: bool) -> None:
    """Try all that a league does with a model, on drawn records, and say what came of it. Needs no node.

    Parts: what a node knows of it without torch, shapes as declared, weights from the seed alone, logits of the right
    form, no record that depends on another, a gradient everywhere, training, clipped gradients against a slow twin,
    safetensors and ONNX files. Ends in exit code 3 when a part failed: no league could train the model.
    `noted` is what a league can live with.
    """
    from fl.model_check import FAILED, check_model
    from fl.models.plug_ins import plug_ins

    found = check_model(name, arguments)
    if name in plug_ins() and found[0].verdict != FAILED:
        found = (_in_a_node(name, arguments), *found)
    failed = [each for each in found if each.verdict == FAILED]
    if as_json:
        findings = [{"part": each.part, "verdict": each.verdict, "said": each.said} for each in found]
        print_json({"model": name, "fits": not failed, "findings": findings})
    else:
        rows = [(each.part, each.verdict, each.said) for each in found]
        print_table(f"Model {name}", ("part", "verdict", "said"), rows)
    if failed:
        raise CliError(Exit.CONFIGURATION, f"model {name!r} fits no league: {failed[0].part}: {failed[0].said}")
