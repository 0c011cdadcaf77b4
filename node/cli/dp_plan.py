"""`hanse dp plan`: what noise a wish for privacy costs, and what is left of the learning. Asks no node."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_fields, print_json, progress
from node.cli.verbs import Verb, json_option

if TYPE_CHECKING:
    from fl.privacy.outlook import Outlook, Wish
    from fl.privacy.trial import Trial

# The bearing model of the examples: 8-150-150-4.
PARAMETERS = 24_604
# A trial of more steps than these takes an hour: whoever wants it has `hanse simulate`.
TRIAL_STEPS_MAX = 1_000_000


@click.command(
    cls=Verb,
    examples=(
        "hanse dp plan --records 900 --epochs 5 --rounds 20 --epsilon 8",
        "hanse dp plan --records 900 --request bearing.toml           with the terms of a request file",
        "hanse dp plan --records 900 --rounds 20 --epsilon 3 --trial  and train it, on simulated bearings",
    ),
)
@click.option(
    "--records", type=click.IntRange(1), required=True, help="Records of the provider; groups, if those are the unit."
)
@click.option(
    "--request", "request_file", type=click.Path(path_type=Path), help="Take the terms from this request file."
)
@click.option("--batch", type=click.IntRange(1), help="Records a step.  [default: 32]")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the records in a round.  [default: 1]")
@click.option("--rounds", type=click.IntRange(1), help="Rounds of the request at most.  [default: 10]")
@click.option("--epsilon", type=float, help="Most that a provider spends on the request.  [default: 8]")
@click.option("--delta", type=float, help="Delta of that epsilon.  [default: 1e-5]")
@click.option("--accuracy-sigma", type=float, help="Also a noisy accuracy a round, with this deviation on the count.")
@click.option("--parameters", type=click.IntRange(1), help=f"Of the model.  [default: {PARAMETERS}]")
@click.option("--providers", type=click.IntRange(1, 256), help="Whose updates are averaged.  [default: 5]")
@click.option("--trial", is_flag=True, help="Train it, with and without noise, on simulated bearings (8-150-150-4).")
@click.option("--learning-rate", type=float, help="Of the trial.  [default: 0.2]")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the trial.")
@json_option
def plan(
    records: int,
    request_file: Path | None,
    batch: int | None,
    epochs: int | None,
    rounds: int | None,
    epsilon: float | None,
    delta: float | None,
    accuracy_sigma: float | None,
    parameters: int | None,
    providers: int | None,
    trial: bool,
    learning_rate: float | None,
    seed: int,
    as_json: bool,
) -> None:
    """Print the noise that keeps an epsilon over all rounds of a request, what each round costs, and what to expect.

    Nothing is trained on anybody's records and nothing is charged. What is given here goes before what FILE says.
    """
    from fl.privacy.outlook import Wish, outlook
    from fl.privacy.terms import PrivacyRefused

    wish, momentum, rate = _terms(request_file)
    settings = dict(wish.settings)
    if epsilon is not None:
        settings["epsilon"] = f"{epsilon:.12g}"
    if delta is not None:
        settings["delta"] = f"{delta:.12g}"
    if accuracy_sigma is not None:
        settings |= {"accuracy": "noisy", "accuracy_sigma": f"{accuracy_sigma:.12g}"}
    wish = Wish(
        wish.mode,
        settings,
        records,
        batch or wish.batch,
        epochs or wish.epochs,
        rounds or wish.rounds,
        parameters or wish.parameters,
        providers or wish.providers,
    )
    try:
        found = outlook(wish)
    except (PrivacyRefused, ValueError) as error:
        raise CliError(Exit.REFUSED, str(error)) from None
    tried = _trial(wish, found, learning_rate or rate, momentum, seed, as_json) if trial else None
    if as_json:
        print_json(_json(wish, found, tried))
        return
    print_fields(_lines(wish, found, tried))
    for warning in found.warnings:
        click.echo(f"note: {warning}")


def _terms(request_file: Path | None) -> tuple["Wish", float, float]:
    """What the request file says of privacy and training, or what is usual; momentum and learning rate beside it."""
    from fl.models.errors import ModelError
    from fl.models.shapes import parameter_count
    from fl.privacy.modes import MODES
    from fl.privacy.outlook import Wish
    from node.request_file import load_request

    if request_file is None:
        return Wish("sound", {}, 1, 32, 1, 10, PARAMETERS, 5), 0.0, 0.2
    draft = load_request(request_file)
    if draft.privacy not in MODES or not MODES[draft.privacy].accounted:
        raise CliError(Exit.USAGE, f"{request_file}: privacy mode {draft.privacy} costs nothing that could be planned")
    try:
        parameters = parameter_count(draft.model, dict(draft.model_arguments))
    except ModelError as error:
        raise CliError(Exit.CONFIGURATION, f"{request_file}: {error}") from None
    training = dict(draft.training_settings)
    wish = Wish(
        draft.privacy,
        dict(draft.privacy_settings),
        1,
        draft.batch,
        draft.epochs,
        draft.rounds_max,
        parameters,
        draft.providers_min,
    )
    return wish, float(training["momentum"]), float(training["learning_rate"])


def _trial(wish: "Wish", found: "Outlook", learning_rate: float, momentum: float, seed: int, as_json: bool) -> "Trial":
    from fl.privacy.trial import trial
    from fl.train import Diverged

    if wish.mode != "sound":
        raise CliError(Exit.USAGE, f"a trial of mode {wish.mode} needs the masks of a league: see `hanse devnet`")
    steps = wish.rounds * wish.providers * found.cost.sampling.steps
    if steps > TRIAL_STEPS_MAX:
        raise CliError(Exit.USAGE, f"a trial of {steps} steps, want at most {TRIAL_STEPS_MAX}: fewer rounds will tell")
    with progress("two federations on simulated bearings", 2 * wish.rounds, as_json) as bar:
        try:
            return trial(wish, learning_rate, momentum, seed, lambda: bar.advance(1))
        except Diverged as error:
            raise CliError(Exit.REFUSED, f"the trial did not learn: {error}") from None


def _lines(wish: "Wish", found: "Outlook", tried: "Trial | None") -> dict[str, object]:
    cost, noise = found.cost, found.cost.noise
    steps, in_how_many = cost.sampling.steps, 1 / float(cost.sampling.rate)
    lines: dict[str, object] = {
        "mode": f"{wish.mode}, unit {cost.unit}",
        "noise multiplier": f"{noise.sigma_micro / 1e6:.6f}" + (" of each provider" if cost.sharing else ""),
        "steps": f"{steps} a round, {steps * wish.rounds} in all, each over 1 in {in_how_many:.4g} units",
        "epsilon": f"{found.epsilon:.4f} for {wish.rounds} rounds at delta {noise.delta_pico / 1e12:.2g}",
        "  of one round": f"{found.epsilon_round:.4f} (they do not add up: later rounds cost less)",
        "  tight": f"{found.epsilon_tight:.4f}"
        if found.epsilon_tight is not None
        else "not computed; the extra hanse[dp] does where it is no more than 100",
    }
    if noise.query_micro:
        lines["accuracy told"] = f"each round, with noise of {noise.query_micro / 1e6:g} on the count of test records"
    lines["noise over way"] = f"{found.drowning:.3f} with {wish.providers} providers and {wish.parameters} parameters"
    lines["expect"] = found.expected
    if tried is not None:
        lines["trial"] = (
            f"{tried.private:.1%} accuracy, {tried.plain:.1%} without noise (simulated bearings, chance 25 %)"
        )
    return lines


def _json(wish: "Wish", found: "Outlook", tried: "Trial | None") -> dict[str, object]:
    cost, noise = found.cost, found.cost.noise
    return {
        "mode": wish.mode,
        "unit": cost.unit,
        "noise": noise.sigma_micro,
        "query_noise": noise.query_micro,
        "steps": cost.sampling.steps,
        "batch": cost.sampling.batch,
        "units": cost.sampling.units,
        "rounds": wish.rounds,
        "delta": noise.delta_pico / 1e12,
        "epsilon": found.epsilon,
        "epsilon_round": found.epsilon_round,
        "epsilon_tight": found.epsilon_tight,
        "noise_over_way": found.drowning,
        "expected": found.expected,
        "warnings": list(found.warnings),
        "trial": None if tried is None else {"private": tried.private, "plain": tried.plain},
    }
