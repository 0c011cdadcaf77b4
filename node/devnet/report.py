"""What a devnet shows while it runs and at its end, and what it checks before it says that all is well."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group
from rich.table import Table

from fl.comparison import Compared
from ledger.types import MICRO
from node.cli.output import so_far
from node.devnet.league import DevLeague, DevNode
from node.devnet.plan import Plan
from node.devnet.privacy import charges_of, privacy_faults

# How far the federation may stay behind one model on all records, in points.
BEHIND_CENTRALISED_MAX = 2.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold, in words, and whether it did."""

    what: str
    held: bool


@dataclass(slots=True)
class Watched:
    """What was seen of the request while it ran. `rounds`: one row a closed round."""

    request: str
    final: dict[str, Any] = field(default_factory=dict)
    receipts: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


def line_of(
    league: DevLeague, plan: Plan, answer: dict[str, Any], receipts: Sequence[dict[str, Any]], status: dict[str, Any]
) -> Group:
    """The live view: one row a closed round, and where the one in work stands."""
    table = Table(title=plan.draft.title, expand=False)
    for column in ("round", "leader", "height", "delivered", "accuracy of the model before", "paid"):
        table.add_column(column, justify="right")
    for receipt in receipts:
        lines = receipt["lines"]
        delivered = sum(line["fate"].lower() == "delivered" for line in lines)
        table.add_row(
            str(receipt["round"]) + (f".{receipt['attempt']}" if receipt["attempt"] else ""),
            name_of(league, receipt["author"]),
            str(receipt["height"]),
            f"{delivered} of {len(lines)}",
            f"{int(receipt['base_accuracy']) / MICRO:.2%}",
            str(sum(int(line["paid"]) for line in lines)),
        )
    request, current = answer["request"], answer["round"]
    where = f"{request['stage'].lower()}, round {request['round']} of {plan.draft.rounds_max}"
    if current is not None:
        parts = ", ".join(
            f"{name_of(league, part['org'])} {so_far(part['fate'].lower())}" for part in current["participants"]
        )
        where += f": {parts}"
    leader = status["consensus"]["leader_name"]
    return Group(table, f"height {status['head']['height']}, next led by {leader}; {where}")


def member_table(league: DevLeague) -> Table:
    """Members by the ledger: records anchored, rounds, reputation, tokens."""
    table = Table(title="Members by the ledger")
    for column in ("member", "records anchored", "rounds", "missed", "reputation", "tokens", "earned"):
        table.add_column(column, justify="left" if column == "member" else "right")
    asked = league.nodes[0]
    ranking = {row["org"]: row for row in asked.call("ranking")["ranking"]}
    for node in league.nodes:
        row = ranking[node.org.hex()]
        account = asked.call("account", org=node.org.hex())
        totals = asked.call("anchor.list", org=node.org.hex())["totals"] or {"records": 0}
        table.add_row(
            node.name,
            str(totals["records"]),
            str(row["rounds_delivered"]),
            str(row["rounds_missed"]),
            f"{int(row['reputation']) / MICRO:.3f}",
            str(account["balance"]),
            str(row["tokens_earned"]),
        )
    return table


def factory_table(league: DevLeague, plan: Plan, request: str, compared: Compared) -> Table:
    """Each factory on its own mix of classes: the global model, the one it uses itself, the one it trained alone."""
    table = Table(title="On each factory's own mix of classes")
    for column in ("factory", "global model", "the model it serves", "trained alone", "trained alone, pooled test"):
        table.add_column(column, justify="left" if column == "factory" else "right")
    for at, node in enumerate(league.nodes[1:]):
        served = served_by(node, plan, at, request)
        table.add_row(
            node.name,
            f"{compared.federated_own[at]:.2%}",
            "-" if served is None else f"{served:.2%}",
            f"{compared.local_own[at]:.2%}",
            f"{compared.local[at].accuracy:.2%}",
        )
    return table


def served_by(node: DevNode, plan: Plan, at: int, request: str) -> float | None:
    """Accuracy of the model that the node would itself use, from the note beside it."""
    from node.devnet.comparing import served_accuracy

    note = json.loads((node.folder / "models" / f"{request}.json").read_text())
    own_test = (note.get("served") or {}).get("own_test")
    return None if own_test is None else served_accuracy(plan, at, own_test)


def check_league(
    league: DevLeague, plan: Plan, request: str, final: dict[str, Any], compared: Compared | None, ends: float
) -> list[Check]:
    """What must hold at the end of every devnet."""
    heads = {(head["head"]["id"], head["state_root"]) for head in (node.call("status") for node in league.nodes)}
    note = json.loads((league.nodes[0].folder / "models" / f"{request}.json").read_text())
    export = league.nodes[0].folder / "models" / f"{request}.safetensors"
    checks = [
        Check(f"the request is done: {final['outcome']}", final["stage"].lower() == "done"),
        Check(f"all {len(league.nodes)} nodes hold the same block and the same state root", len(heads) == 1),
        Check(
            "the model is exported, with the digest that is on the ledger",
            export.exists() and note["digest"] == final["model"],
        ),
        Check("no token appeared or vanished", _supply_is_kept(league)),
        Check("it was done in time", time.monotonic() <= ends),
    ]
    if plan.draft.privacy == "sound":
        faults = privacy_faults(league, plan, request)
        text = f"; not so: {'; '.join(faults)}" if faults else ""
        checks.append(Check(f"every charge follows from its noise and is within what was agreed{text}", not faults))
    if compared is not None:
        behind = 100 * (compared.centralised.accuracy - compared.federated.accuracy)
        if not plan.common_test and plan.draft.privacy == "none":
            # Divided by class the gap is large for every method, and noise has its price: shown, without a bar.
            text = f"{behind:+.2f} points behind the centralised model, at most {BEHIND_CENTRALISED_MAX:g}"
            checks.append(Check(f"the federation is {text}", behind <= BEHIND_CENTRALISED_MAX))
        if plan.draft.privacy == "none":
            # Who trains alone adds no noise: where all factories are alike, that can be worth more than the others.
            better = compared.federated.accuracy > compared.local_mean
            checks.append(Check("the federation is better than the mean of the factories that trained alone", better))
    return checks


def report_json(
    league: DevLeague,
    plan: Plan,
    watched: Watched,
    compared: Compared | None,
    checks: Sequence[Check],
) -> dict[str, Any]:
    accuracy, final = None, watched.final
    if compared is not None:
        served = [served_by(node, plan, at, watched.request) for at, node in enumerate(league.nodes[1:])]
        accuracy = {
            "federated": compared.federated.accuracy,
            "federated_macro_f1": compared.federated.macro_f1,
            "federated_loss": compared.federated.loss,
            "centralised": compared.centralised.accuracy,
            "without_noise": compared.without_noise,
            "local_mean": compared.local_mean,
            "local": [each.accuracy for each in compared.local],
            "own": {
                "global": list(compared.federated_own),
                "served": served,
                "local": list(compared.local_own),
            },
        }
    return {
        "request": watched.request,
        "seconds": watched.seconds,
        "stage": final["stage"],
        "outcome": final["outcome"],
        "rounds": final["model_round"],
        "receipts": len(watched.receipts),
        "accuracy": accuracy,
        "privacy": charges_of(league, watched.request) if plan.draft.privacy == "sound" else None,
        "checks": [{"what": check.what, "held": check.held} for check in checks],
    }


def name_of(league: DevLeague, org: str) -> str:
    return next((node.name for node in league.nodes if node.org.hex() == org), org[:16])


def _supply_is_kept(league: DevLeague) -> bool:
    asked = league.nodes[0]
    balances = sum(int(asked.call("account", org=node.org.hex())["balance"]) for node in league.nodes)
    escrow = sum(int(each["escrow"]) for each in asked.call("request.list")["requests"])
    return balances + escrow == sum(founder.balance for founder in league.genesis.members)
