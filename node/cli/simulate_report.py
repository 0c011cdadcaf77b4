"""What `hanse simulate` says at its end: tables for people, one JSON object for programs. Both accuracies, always."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from node.cli.output import print_table

if TYPE_CHECKING:
    from node.federations.all_runs import EndedRun
    from node.federations.outcome import Spread
_ACCURACIES = ("accuracy_global", "accuracy_own", "accuracy_own_of_global")


def as_json(ended: "Sequence[EndedRun]") -> dict[str, Any]:
    """Every run with its rounds, and mean and spread of each variant over its seeds."""
    from node.federations.outcome import spread_of

    return {
        "runs": [
            {
                "variant": each.run.variant,
                "seed": each.run.seed,
                "rule": each.run.rule,
                "inspected": each.settings.aggregation.inspected,
                "attack": each.settings.attack.name or None,
                "attackers": list(each.run.attackers),
                "settings": each.settings.as_json(),
                "records": list(each.records),
                **each.outcome.ending(),
                "rejections": {str(client): dict(reasons) for client, reasons in each.outcome.rejections.items()},
                "per_round": list(each.outcome.rounds),
            }
            for each in ended
        ],
        "variants": {
            variant: {
                "seeds": len(runs),
                **{
                    name: None if found is None else {"mean": found.mean, "deviation": found.deviation}
                    for name, found in spread_of([each.outcome for each in runs]).items()
                },
            }
            for variant, runs in _variants(ended).items()
        },
    }


def print_report(ended: "Sequence[EndedRun]") -> None:
    """A table of the runs; of several seeds their mean and spread; who was rejected."""
    first = ended[0]
    least, most = min(first.records), max(first.records)
    span = f"{least}" if least == most else f"{least} to {most}"
    model = " ".join(
        (first.settings.model.name, *(f"{name} {value}" for name, value in first.settings.model.arguments))
    )
    attacked = any(each.run.attackers for each in ended)
    noised = any(each.outcome.ending()["epsilon"] is not None for each in ended)
    columns = ["run", "seed", "global %", "own %", "global on own %", "loss", "MB up"]
    columns += (["epsilon"] if noised else []) + (["attackers rejected", "honest rejected"] if attacked else [])
    title = f"{first.settings.data.source}: {len(first.records)} clients with {span} records each, {model}"
    click.echo(title)
    print_table("", columns, _rows(ended, noised, attacked))
    click.echo(
        "Means of the last three tested rounds. global: the common model on the common test; own: the model that each\n"
        "client serves itself, on its own mix of classes, mean of clients; global on own: the common model there."
    )
    rejected = [
        (client, "yes" if client in ended[-1].run.attackers else "no", count, reason)
        for client, reasons in ended[-1].outcome.rejections.items()
        for reason, count in reasons.items()
    ]
    if rejected:
        click.echo()
        print_table("Rejected in the last of them", ("client", "attacker", "rounds", "reason"), rejected)


def _variants(ended: "Sequence[EndedRun]") -> "dict[str, list[EndedRun]]":
    """Runs that differ by their seed only, by what they are compared by."""
    found: dict[str, list[EndedRun]] = {}
    for each in ended:
        found.setdefault(each.run.variant, []).append(each)
    return found


def _rows(ended: "Sequence[EndedRun]", noised: bool, attacked: bool) -> list[tuple[object, ...]]:
    from node.federations.outcome import spread_of

    rows: list[tuple[object, ...]] = []
    for variant, runs in _variants(ended).items():
        for each in runs:
            end = each.outcome.ending()
            row: list[object] = [variant, str(each.run.seed), *(_percent(end[name]) for name in _ACCURACIES)]
            row += [_number(end["loss_global_nats"], 3), f"{end['bytes_up'] / 1e6:.2f}"]
            row += [_number(end["epsilon"], 2)] if noised else []
            row += [_share(*each.outcome.rejected(attackers=who)) for who in (True, False)] if attacked else []
            rows.append(tuple(row))
        if len(runs) > 1:
            found = spread_of([each.outcome for each in runs])
            row = [variant, "mean ± sd", *(_spread(found[name], 100, 1) for name in _ACCURACIES)]
            row += [_spread(found["loss_global_nats"], 1, 3)]
            # What is left has no mean that says anything.
            rows.append((*row, *[""] * (len(rows[-1]) - len(row))))
    return rows


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _number(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:.{places}f}"


def _spread(found: "Spread | None", scale: float, places: int) -> str:
    """Mean and one sample standard deviation."""
    return "-" if found is None else f"{scale * found.mean:.{places}f} ± {scale * found.deviation:.{places}f}"


def _share(count: int, of: int) -> str:
    return f"{count} of {of}" if of else "-"
