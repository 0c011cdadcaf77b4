"""The options of `hanse dp audit`: what is claimed, what is trained, on what, and how it is attacked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

# Names only, so that --help imports no torch; a test holds them to what the attacks know.
MODES = ("none", "paper", "sound")
CANARIES = ("flipped", "outlier", "alone")

_OPTIONS = (
    click.option("--mode", type=click.Choice(MODES), help="Privacy mode to attack. Default: the request's, or sound."),
    click.option("--epsilon", type=click.FloatRange(0.01, 1000), help="What is claimed. Default: the request's, or 2."),
    click.option("--delta", type=click.FloatRange(1e-12, 1e-3), help="Its delta. Default: the request's, or 1e-5."),
    click.option(
        "--canary",
        type=click.Choice(CANARIES),
        default="flipped",
        show_default=True,
        help="The record to find: an ordinary one under a wrong label, one ten times as large, or one that alone "
        "uses a feature.",
    ),
    click.option(
        "--trials",
        type=click.IntRange(8, 1_000_000),
        default=500,
        show_default=True,
        help="Trainings with the canary, and as many without.",
    ),
    click.option(
        "--rounds", type=click.IntRange(1, 10_000), help="Rounds in a training. Default: the request's, or 1."
    ),
    click.option("--membership", is_flag=True, help="Guess which records took part, instead of finding one canary."),
    click.option(
        "--models",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="DIR",
        help="Attack exported models with the training and test records of --data.",
    ),
    click.option(
        "--request",
        "request_path",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Take model, strategy, training and privacy terms from a request file.",
    ),
    click.option("--model", metavar="NAME", help="Model to train. Default: one layer, or two with --membership."),
    click.option("--model-argument", multiple=True, metavar="NAME=VALUE", help="An argument of the model."),
    click.option("--epochs", type=click.IntRange(1, 10_000), help="Local epochs a round. Default: 10."),
    click.option("--batch", type=click.IntRange(1, 1_000_000), help="Records in a step on average. Default: 32."),
    click.option("--learning-rate", type=click.FloatRange(1e-9, 1000), help="Step length. Default: 0.1."),
    click.option("--momentum", type=click.FloatRange(0, 0.999999), help="Default: 0."),
    click.option("--strategy", metavar="NAME", help="Default: fedavg."),
    click.option("--privacy-setting", multiple=True, metavar="NAME=VALUE", help="A setting of the mode: clip, sigma."),
    click.option("--data", metavar="SOURCE", help="Where records come from: `hanse help sources`. Default: made up."),
    click.option("--data-path", type=click.Path(path_type=Path), metavar="PATH", help="File or folder of the source."),
    click.option("--data-setting", multiple=True, metavar="NAME=VALUE", help="A setting of the source."),
    click.option(
        "--records",
        type=click.IntRange(2, 10_000_000),
        help="Records to train on. Default: all of --data, or 500 made up, 400 with --membership.",
    ),
)


def audit_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """All of them, in this order in the help."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
