"""`hanse dp audit`: try to break a privacy claim on this machine. Asks no node; nothing it computes leaves.

What it attacks is `fl.round`, the code that the node's training process runs. The attacks: fl/privacy/audit.py,
membership.py, exposure.py.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.cli.dp_audit_options import audit_options
from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_fields, print_json, print_table, progress, short_hash
from node.cli.verbs import Verb, json_option

if TYPE_CHECKING:
    from fl.privacy.claims import Claim
    from fl.privacy.exposure import ExposureReport
    from node.audit_subject import Subject


@click.command(
    cls=Verb,
    examples=(
        "hanse dp audit --mode paper --epsilon 2                      refuted, exit code 7",
        "hanse dp audit --mode sound --epsilon 2 --canary alone       not refuted",
        "hanse dp audit --request bearing.toml --data bearing-simulator --trials 100",
        "hanse dp audit --membership --mode none                      who was in, from the releases of 5 rounds",
        "hanse dp audit --models ./alice/models --data table --data-path runs.csv --data-setting schema=runs.toml",
    ),
)
@audit_options
@json_option
def audit(as_json: bool, membership: bool, models: Path | None, **options: Any) -> None:
    """Train with and without one record and measure a lower bound on epsilon; compare it with what is claimed.

    Without --data the records are made up. Exit code 7 when the claim is refuted, 0 when it is not: that is no proof of
    the claim, only that this attack, of so many trainings, found nothing against it.
    """
    from fl.batches import UnusableTable
    from fl.data.errors import DataError
    from fl.models.errors import ModelError
    from fl.privacy.terms import PrivacyRefused
    from fl.strategies.base import StrategyError
    from fl.threads import one_thread
    from fl.train import Diverged
    from fl.vectors import VectorMismatch
    from node.audit_subject import audit_subject

    try:
        with one_thread():
            if models is not None:
                _exposure(models, options, as_json)
                return
            subject = audit_subject(membership=membership, **options)
            refuted = _membership(subject, as_json) if membership else _canary(subject, options["canary"], as_json)
    except (DataError, ModelError, StrategyError, PrivacyRefused, UnusableTable, VectorMismatch, Diverged) as error:
        raise CliError(Exit.CONFIGURATION, str(error)) from None
    if refuted:
        raise CliError(Exit.NOT_VERIFIED, refuted)


def _canary(subject: "Subject", canary: str, as_json: bool) -> str:
    """Why the claim is refuted; empty where it is not."""
    from fl.privacy.audit import audit
    from fl.privacy.canaries import CANARIES, plant
    from fl.privacy.confidence import trials_for

    claim, plan = subject.claim, subject.claim.plan
    planted = plant(canary, subject.table, subject.classes)
    with progress(f"{2 * plan.trials} trainings", 2 * plan.trials, as_json) as bar:
        report = audit(plan, planted, progress=_advance(bar.advance))
    verdict = "refuted" if report.refuted else "not refuted"
    guesses = report.guesses
    if as_json:
        body = _claimed(claim) | asdict(report) | {"guesses": asdict(guesses), "canary": canary}
        print_json(body | {"decisive": report.decisive, "verdict": verdict})
    else:
        fields = _claim_lines(claim) | {
            "canary": f"{canary}: {CANARIES[canary].summary}",
            "trials": f"{plan.trials} with it and {plan.trials} without; the second halves are counted",
            "told apart": (
                f"{guesses.caught} of {guesses.present} with it, {guesses.alarms} of {guesses.absent} without, "
                f"by {report.score} (AUC {report.auc:.3f})"
            ),
            "measured": f"epsilon is at least {report.measured:.2f} ({report.confidence:.0%} confidence)",
            "measurable": f"up to {report.measurable:.2f} with so many trials",
            "verdict": verdict,
        }
        print_fields(fields)
        if not report.decisive:
            # Of the trials half are counted.
            least = 2 * trials_for(report.claimed, report.delta, report.confidence)
            click.echo(f"So few trials could refute no claim of {report.claimed:.4g}: want --trials {least} at least")
    if not report.refuted:
        return ""
    return f"{plan.job.privacy} is refuted: epsilon is at least {report.measured:.2f}, claimed {report.claimed:.4g}"


def _advance(advance: Callable[[int], None]) -> Callable[[int], None]:
    return lambda done: advance(1)


def _membership(subject: "Subject", as_json: bool) -> str:
    from fl.privacy.membership import infer_membership

    claim = subject.claim
    with progress("training, and training shadows", None, as_json):
        report = infer_membership(claim.plan, subject.table, claim.promised)
    verdict = "nothing was claimed" if report.allowed is None else "refuted" if report.refuted else "not refuted"
    if as_json:
        print_json(_claimed(claim) | asdict(report) | {"advantage": report.advantage, "verdict": verdict})
    else:
        allowed = "all, for nothing is promised" if report.allowed is None else f"at most {report.allowed:.3f}"
        print_fields(
            _claim_lines(claim)
            | {
                "records": f"{len(subject.table[1])}, of which a coin each decided who takes part",
                "guessed": f"{report.correct} of {report.guesses} coins, by {report.attack}",
                "advantage": (
                    f"{report.advantage:.3f}, from {report.low:.3f} to {report.high:.3f} "
                    f"({report.confidence:.0%} confidence); 0 is chance, 1 certainty"
                ),
                "allowed": allowed,
                "verdict": verdict,
            }
        )
    if not report.refuted:
        return ""
    return f"{claim.plan.job.privacy} is refuted: advantage of at least {report.low:.3f}, allowed {report.allowed:.3f}"


def _claimed(claim: "Claim") -> dict[str, Any]:
    job = claim.plan.job
    return {
        "mode": job.privacy,
        "promised": claim.promised,
        "rounds": claim.plan.rounds,
        "sigma": claim.sigma,
        "model": job.model,
        "epochs": job.epochs,
        "batch": job.batch,
    }


def _claim_lines(claim: "Claim") -> dict[str, object]:
    plan, job = claim.plan, claim.plan.job
    rounds = "one round" if plan.rounds == 1 else f"{plan.rounds} rounds"
    return {
        "mode": job.privacy if claim.promised else f"{job.privacy}, which promises nothing itself",
        "claimed": f"epsilon {plan.epsilon:.4g} at delta {plan.delta:.3g} for {rounds}: {claim.reason}",
        "noise": f"sigma {claim.sigma:.6g}",
        "training": f"{job.model}, {job.epochs} epochs in batches of {job.batch}, learning rate {job.lr:g}",
    }


def _exposure(folder: Path, options: dict[str, Any], as_json: bool) -> None:
    from fl.export import ExportError
    from node.audit_subject import exposed_models

    try:
        found = exposed_models(folder, options["data"], options["data_path"], options["data_setting"])
    except ExportError as error:
        raise CliError(Exit.MALFORMED, f"{folder}: {error}") from None
    if as_json:
        print_json({"models": [{"request": request, **asdict(report)} for request, report in found]})
        return
    print_table(
        "What the models tell of who was in their training",
        ("request", "by", "members", "others", "AUC", "advantage", "from", "to"),
        [(short_hash(request), *_exposure_row(report)) for request, report in found],
    )
    click.echo(
        "Members are the source's training records, others its test records; advantage 0 is chance, 1 certainty."
    )


def _exposure_row(report: "ExposureReport") -> tuple[object, ...]:
    numbers = (report.auc, report.advantage, report.low, report.high)
    return report.attack, report.members, report.others, *(f"{number:.3f}" for number in numbers)
