"""`hanse dp`: differential privacy: what a claim is worth."""

import click

from node.cli.verbs import LazyGroup

VERBS: dict[str, tuple[str, str]] = {
    "plan": ("node.cli.dp_plan:plan", "What noise a wish for privacy costs, and what accuracy to expect."),
    "report": ("node.cli.dp_report:report", "What was spent of this node's records' privacy, and what is left."),
    "check": ("node.cli.dp_report:check", "Compute again what the providers of a request say that they spent."),
    "audit": ("node.cli.dp_audit:audit", "Try to break a claim: train with and without a record, and tell it."),
}


@click.group(
    cls=LazyGroup,
    verbs=VERBS,
    examples=(
        "hanse dp plan --records 900 --epochs 5 --rounds 20 --epsilon 8",
        "hanse dp report -c ./alice",
        "hanse dp check 3f2a91 -c ./alice",
        "hanse dp audit --mode paper --epsilon 2",
    ),
)
def dp() -> None:
    """Differential privacy: what noise costs, what was spent, what a claim is worth."""
